import {
  ACTION_NAMES,
  type Action,
  type Method as ActionMethod,
  type ActionName,
  actionOf,
  runAction,
} from "../api/actions.ts";
import type { Mosaic } from "../api/mosaic.ts";
import { REPEATS } from "../api/repeats.ts";
import { MosaicError } from "../base/errors.ts";
import { cancellableSteps, directSteps, loggedSteps, plannedSteps, type Steps } from "../system/steps.ts";
import type { CallContext, Method, ResultSchema, Zod } from "./method.ts";
import type { Mosaics } from "./mosaics.ts";
import { inPages } from "./pages.ts";
import { InvalidParams } from "./values.ts";

// The methods of the table of actions: adding an action adds them.

type Values = Readonly<Record<string, unknown>>;

/** The methods of all actions, on the mosaic that the server is bound to or the one that each call names. */
export function listActionMethods(mosaics: Mosaics, bound: string | undefined): Map<string, Method> {
  const methods = new Map<string, Method>();
  for (const action of ACTION_NAMES)
    for (const [name, method] of Object.entries(actionOf(action).methods)) {
      const made = makeMethod(mosaics, bound, action, method);
      methods.set(name, method.isPaged ? inPages(made, "volumes") : made);
    }
  return methods;
}

function makeMethod(
  mosaics: Mosaics,
  bound: string | undefined,
  name: ActionName,
  method: ActionMethod,
): Method {
  const action: Action = actionOf(name);
  const implied = method.implies ?? {};
  const parameters = Object.keys(action.arguments).filter((parameter) => !Object.hasOwn(implied, parameter));
  return {
    summary: action.summary,
    parameters: [...parameters, "mosaic"],
    mutates: action.mutates,
    schema: (z) => methodSchema(z, action, method, bound),
    result: (z, actions) => answerSchema(z, actions, name, method),
    keys: (values) => listKeys(bound ?? String(values.mosaic), { ...implied, ...values }),
    async run({ mosaic, ...values }, context) {
      const nameOrPath = await requireMosaic(mosaics, bound, mosaic as string | undefined);
      const result = await perform(mosaics, nameOrPath, name, { ...implied, ...values }, context);
      return Object.fromEntries(Object.entries(result).filter(([member]) => !Object.hasOwn(implied, member)));
    },
    ...(action.mutates && {
      storage: async ({ mosaic }: Values) => {
        const nameOrPath = await requireMosaic(mosaics, bound, mosaic as string | undefined);
        return (await mosaics.reader(nameOrPath)).identity;
      },
    }),
  };
}

function methodSchema(
  z: Zod,
  action: Action,
  { implies = {}, requires = [] }: ActionMethod,
  bound: string | undefined,
) {
  // The compiler cannot know the names, which come from the table.
  const mask = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, true])) as never;
  const whole = action.schema(z) as ReturnType<Zod["strictObject"]>;
  const own = z.omit(whole, mask(Object.keys(implies)));
  const needed = z.required(own, mask(requires));
  return z.extend(needed, { mosaic: bound === undefined ? z.string() : z.optional(z.string()) });
}

/** The answer of the action without what the method's name says, and with what tells whether this call did it. */
function answerSchema(
  z: Parameters<ResultSchema>[0],
  actions: Parameters<ResultSchema>[1],
  name: ActionName,
  { result, implies = {} }: ActionMethod,
) {
  const whole = actions[result] as ReturnType<Zod["strictObject"]>;
  const implied = Object.keys(implies).filter((member) => Object.hasOwn(whole.shape, member));
  const own = z.omit(whole, Object.fromEntries(implied.map((member) => [member, true])) as never);
  const effect = REPEATS[name]?.effect;
  return z.extend(own, {
    ...(effect && { [effect]: z.boolean() }),
    ...(actionOf(name).mutates && { notes: z.optional(z.array(z.string())) }),
  });
}

/** What a call works on: the volumes that it names, so that calls on one volume are run in their order. */
function listKeys(mosaic: string, { volume, origin }: Values): string[] {
  const volumes = [volume, origin].filter((name) => typeof name === "string");
  return [...new Set(volumes)].map((name) => `${mosaic}:${name}`);
}

/** The mosaic that a call means, by the name or path of its config. Throws InvalidParams when the server is bound to another one. */
export async function requireMosaic(
  mosaics: Mosaics,
  bound: string | undefined,
  said: string | undefined,
): Promise<string> {
  if (bound === undefined || said === undefined || said === bound) return bound ?? said ?? "";
  const [own, other] = [await mosaics.config(bound), await mosaics.config(said)];
  if (own.file === other.file) return bound;
  throw new InvalidParams("/mosaic", `the mosaic of this server, ${own.file}, or nothing`, other.file);
}

async function perform(
  mosaics: Mosaics,
  nameOrPath: string,
  name: ActionName,
  values: Values,
  context: CallContext,
): Promise<object> {
  if (!actionOf(name).mutates) return runAction(await mosaics.reader(nameOrPath), name, values);
  const planned: string[] = [];
  const notes: string[] = [];
  const steps = chooseSteps(context, planned);
  await using mosaic = await mosaics.writer(nameOrPath, steps, (note) => notes.push(note));
  const result = await runRepeatable(mosaic, name, values);
  if (context.meta.dryRun) return { steps: planned };
  return notes.length > 0 ? { ...result, notes } : result;
}

function chooseSteps({ meta, signal, progress }: CallContext, planned: string[]): Steps {
  if (meta.dryRun) return plannedSteps((text) => planned.push(text));
  let taken = 0;
  const counting = loggedSteps(directSteps, (text) =>
    progress({ progress: ++taken, unit: "steps", message: text }),
  );
  return cancellableSteps(meta.progressToken === undefined ? directSteps : counting, signal);
}

/** Runs an action; a repeat that finds just what it asks for is a success. */
async function runRepeatable(mosaic: Mosaic, name: ActionName, values: Values): Promise<object> {
  const repeat = REPEATS[name];
  try {
    const result = await runAction(mosaic, name, values);
    return repeat ? { ...result, [repeat.effect]: true } : result;
  } catch (thrown) {
    const answer = thrown instanceof MosaicError ? await repeat?.answer(mosaic, values, thrown) : undefined;
    if (!repeat || !answer) throw thrown;
    return { ...answer, [repeat.effect]: false };
  }
}
