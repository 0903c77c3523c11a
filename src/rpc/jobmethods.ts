import { JobStore } from "../api/jobs.ts";
import { requireMosaic } from "./actionmethods.ts";
import { type JobRunner, waitForJob } from "./jobrunner.ts";
import type { CallContext, Method, ResultSchema, Zod } from "./method.ts";
import type { Mosaics } from "./mosaics.ts";
import { inPages } from "./pages.ts";

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
    result: ResultSchema,
    run: (identity: string, values: Values, context: CallContext) => object | Promise<object>,
  ): Method => ({
    summary,
    parameters: [...parameters, "mosaic"],
    mutates,
    result,
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
      define("tell how far a job is", one, false, oneJob, (identity, { job }) =>
        wrap(new JobStore(identity).get(String(job))),
      ),
    ],
    [
      "job.wait",
      define(
        "wait until a job has ended, or the time is over",
        ["job", "timeoutMs"],
        false,
        oneJob,
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
    [
      "job.list",
      inPages(
        define(
          "list the jobs",
          [],
          false,
          (z) => z.strictObject({ jobs: z.array(jobOf(z)) }),
          (identity) => ({ jobs: new JobStore(identity).list() }),
        ),
        "jobs",
      ),
    ],
    [
      "job.cancel",
      define("stop a job; what it began is undone", one, true, oneJob, (identity, { job }) =>
        wrap(runner.cancel(identity, String(job))),
      ),
    ],
    [
      "job.dismiss",
      define(
        "forget a job that has ended",
        one,
        true,
        (z) => z.strictObject({}),
        (identity, { job }) => {
          new JobStore(identity).dismiss(String(job));
          return {};
        },
      ),
    ],
  ]);
}

const oneJob: ResultSchema = (z) => z.strictObject({ job: jobOf(z) });

function jobOf(z: Parameters<ResultSchema>[0]) {
  const text = z.string();
  return z.strictObject({
    id: text,
    kind: text,
    state: z.enum(["queued", "running", "cancelling", "done", "failed", "cancelled", "interrupted"]),
    progress: z.nullable(z.number()),
    cancellable: z.boolean(),
    createdAt: text,
    updatedAt: text,
    pid: z.int(),
    params: z.looseObject({}),
    result: z.nullable(z.looseObject({})),
    error: z.nullable(z.looseObject({})),
  });
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
