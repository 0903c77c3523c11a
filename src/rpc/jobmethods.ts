import { JobStore } from "../api/jobs.ts";
import { requireMosaic } from "./actionmethods.ts";
import { type JobRunner, waitForJob } from "./jobrunner.ts";
import type { CallContext, Method, Zod } from "./method.ts";
import type { Mosaics } from "./mosaics.ts";

type Values = Readonly<Record<string, unknown>>;

const WAIT_DEFAULT_MS = 30_000;

/** The methods for calls that run in the background. */
export function listJobMethods(
  mosaics: Mosaics,
  bound: string | undefined,
  runner: JobRunner,
): Map<string, Method> {
  const define = (
    summary: string,
    parameters: readonly string[],
    mutates: boolean,
    run: (identity: string, values: Values, context: CallContext) => object | Promise<object>,
  ): Method => ({
    summary,
    parameters: [...parameters, "mosaic"],
    mutates,
    schema: (z) => jobSchema(z, parameters, bound),
    run: async (values, context) => {
      const nameOrPath = await requireMosaic(mosaics, bound, values.mosaic as string | undefined);
      return run((await mosaics.reader(nameOrPath)).identity, values, context);
    },
  });
  const one = ["job"];
  return new Map([
    [
      "job.get",
      define("tell how far a job is", one, false, (identity, { job }) =>
        wrap(new JobStore(identity).get(String(job))),
      ),
    ],
    [
      "job.wait",
      define(
        "wait until a job has ended, or the time is over",
        ["job", "timeoutMs"],
        false,
        async (identity, values, { signal }) =>
          wrap(
            await waitForJob(
              identity,
              String(values.job),
              Number(values.timeoutMs ?? WAIT_DEFAULT_MS),
              signal,
            ),
          ),
      ),
    ],
    ["job.list", define("list the jobs", [], false, (identity) => ({ jobs: new JobStore(identity).list() }))],
    [
      "job.cancel",
      define("stop a job; what it began is undone", one, true, (identity, { job }) =>
        wrap(runner.cancel(identity, String(job))),
      ),
    ],
    [
      "job.dismiss",
      define("forget a job that has ended", one, true, (identity, { job }) => {
        new JobStore(identity).dismiss(String(job));
        return {};
      }),
    ],
  ]);
}

function wrap(job: object): object {
  return { job };
}

function jobSchema(z: Zod, parameters: readonly string[], bound: string | undefined) {
  return z.strictObject({
    ...(parameters.includes("job") && { job: z.string() }),
    ...(parameters.includes("timeoutMs") && { timeoutMs: z.optional(z.int().check(z.minimum(0))) }),
    mosaic: bound === undefined ? z.string() : z.optional(z.string()),
  });
}
