import type * as zod from "zod/mini";
import { MosaicError, quote } from "../base/errors.ts";
import { parseSize } from "../base/size.ts";
import { chooseIssue, describeExpected } from "./issues.ts";
import type { Mosaic } from "./mosaic.ts";

// The one table of actions: the command line with its help, and every other way in, are read off it.

/** An argument as a command line has it: by its place, or after a flag. */
export interface Argument {
  /** Such as "VOLUME" in a synopsis. */
  readonly label: string;
  readonly summary: string;
  /** The flag in front of it, such as "-o"; by its place when absent. */
  readonly flag?: string;
  /** The words it may be, of which a prefix is enough. */
  readonly choices?: readonly string[];
  readonly isOptional?: boolean;
  /** Whether the text is the path of a JSON file, whose content is the value. */
  readonly isJsonFile?: boolean;
  /** The value in its text; the text itself when absent. Throws INVALID_ARGUMENT. */
  readonly parse?: (text: string) => unknown;
}

type Zod = typeof import("./zod.ts");

/** One action. */
export interface Action<Schema extends zod.ZodMiniType = zod.ZodMiniType> {
  readonly summary: string;
  /** More of the help, in whole sentences. */
  readonly details: string;
  /** Other words for the action. */
  readonly aliases?: readonly string[];
  /** The arguments by the names of their values, those by place in their order. */
  readonly arguments: Readonly<Record<string, Argument>>;
  /** What the values must be. A function, because a schema at module level would cost every start. */
  readonly schema: (z: Zod) => Schema;
  /** Does it; the result is an object of JSON values. Throws MosaicError. */
  readonly run: (mosaic: Mosaic, values: zod.infer<Schema>) => Promise<object>;
}

/** Lets the compiler hold an action's function against its schema; the table itself is of plain actions. */
function defineAction<Schema extends zod.ZodMiniType>(action: Action<Schema>): Action {
  return action as unknown as Action;
}

const VOLUME: Argument = { label: "VOLUME", summary: "the volume's name" };
const MOUNTPOINT: Argument = { label: "MOUNTPOINT", summary: "an existing directory, no symbolic link" };
const MOUNTED: Argument = {
  label: "{VOLUME|-}",
  summary: "the volume's name, or - for the mosaic's metadata",
};
const KIND: Argument = {
  label: "{fs|disk}",
  summary: "fs: ready to mount; disk: a bare device",
  choices: ["fs", "disk"],
};

/** The actions by name, in the order in which a prefix finds them: `m` is mount, `c` is create. */
export const ACTIONS = {
  mount: defineAction({
    summary: "mount a volume, or the metadata, onto a directory",
    details:
      "A volume may be mounted in several places. FLAGS is a comma list of ro and rw; read-only means that nothing is written through the mount; where no device was there before, nothing at all. A device that a mount needs is made, and goes with the last mount.",
    arguments: {
      volume: MOUNTED,
      mountPoint: MOUNTPOINT,
      readOnly: { label: "FLAGS", summary: "ro or rw", flag: "-o", isOptional: true, parse: parseMountFlags },
    },
    schema: (z) =>
      z.strictObject({ volume: z.string(), mountPoint: z.string(), readOnly: z.optional(z.boolean()) }),
    async run(mosaic, { volume, mountPoint, readOnly = false }) {
      if (volume === "-") await mosaic.mountMetadata(mountPoint, { readOnly });
      else await mosaic.mountVolume(volume, mountPoint, { readOnly });
      return { volume, mountPoint, readOnly };
    },
  }),
  umount: defineAction({
    summary: "unmount a volume, or the metadata, from a directory",
    details:
      "Only what is named is unmounted: something else at the mount point stays. Never lazily: when it is busy, the answer says who uses it.",
    arguments: { volume: MOUNTED, mountPoint: { ...MOUNTPOINT, summary: "where it is mounted" } },
    schema: (z) => z.strictObject({ volume: z.string(), mountPoint: z.string() }),
    async run(mosaic, { volume, mountPoint }) {
      if (volume === "-") await mosaic.unmountMetadata(mountPoint);
      else await mosaic.unmountVolume(volume, mountPoint);
      return { volume, mountPoint };
    },
  }),
  attach: defineAction({
    summary: "make a block device of a volume",
    details: "Prints the line `Device: PATH`. The device stays until detach, also over mounts and umounts.",
    arguments: { volume: VOLUME },
    schema: (z) => z.strictObject({ volume: z.string() }),
    run: async (mosaic, { volume }) => ({ volume, device: await mosaic.attachVolume(volume) }),
  }),
  detach: defineAction({
    summary: "remove the block device of a volume",
    details: "Refuses while the device is mounted or open, and says by whom.",
    arguments: { volume: VOLUME },
    schema: (z) => z.strictObject({ volume: z.string() }),
    async run(mosaic, { volume }) {
      await mosaic.detachVolume(volume);
      return { volume };
    },
  }),
  create: defineAction({
    summary: "make an empty volume",
    details:
      "SIZE is a whole number of bytes, or with K, M, G or T of powers of 1024. Where the backend cannot limit the size it may be left out; given, it is only recorded.",
    aliases: ["new"],
    arguments: {
      kind: KIND,
      volume: VOLUME,
      sizeBytes: { label: "SIZE", summary: "such as 512M", isOptional: true, parse: parseSize },
    },
    schema: (z) =>
      z.strictObject({
        kind: z.enum(["fs", "disk"]),
        volume: z.string(),
        sizeBytes: z.optional(z.int().check(z.positive())),
      }),
    run: (mosaic, { kind, volume, sizeBytes }) => mosaic.createVolume(volume, { kind, sizeBytes }),
  }),
  clone: defineAction({
    summary: "make a writable copy-on-write copy of a volume",
    details:
      "OLD may be mounted: the clone is then what a power cut at that moment would leave, with a filesystem UUID of its own.",
    arguments: {
      origin: { label: "OLD", summary: "the volume to copy" },
      volume: { label: "NEW", summary: "the copy's name" },
    },
    schema: (z) => z.strictObject({ origin: z.string(), volume: z.string() }),
    run: (mosaic, { origin, volume }) => mosaic.cloneVolume(origin, volume),
  }),
  drop: defineAction({
    summary: "destroy a volume and all its data",
    details:
      "Volumes cloned from it are not affected. Refuses while it is mounted, attached or open anywhere, and says by whom.",
    arguments: { volume: VOLUME },
    schema: (z) => z.strictObject({ volume: z.string() }),
    async run(mosaic, { volume }) {
      await mosaic.dropVolume(volume);
      return { volume };
    },
  }),
  info: defineAction({
    summary: "tell what the mosaic can do",
    details: "Prints the line `features:` with those it has of clone, bdev, volsize and migrate.",
    arguments: {},
    schema: (z) => z.strictObject({}),
    run: async (mosaic) => mosaic.info(),
  }),
  have: defineAction({
    summary: "tell whether a volume exists",
    details: "Prints `NAME exists: yes` or `NAME exists: no`; the exit status is 0 both times.",
    arguments: { volume: VOLUME },
    schema: (z) => z.strictObject({ volume: z.string() }),
    run: async (mosaic, { volume }) => mosaic.haveVolume(volume),
  }),
  list: defineAction({
    summary: "list the volumes",
    details:
      "Prints a table: name, kind, size, the volume it was cloned from, its device, where it is mounted. With --json it is complete, and `adopt --from` can restore records from it.",
    arguments: {},
    schema: (z) => z.strictObject({}),
    run: async (mosaic) => ({ volumes: mosaic.listVolumes() }),
  }),
  adopt: defineAction({
    summary: "make a foreign object a volume",
    details:
      "What lies at a volume's place without a valid record is foreign: not listed, never changed. adopt gives it a record. With --from it restores records from a saved `list --json` instead.",
    arguments: {
      kind: { ...KIND, isOptional: true },
      volume: { ...VOLUME, isOptional: true },
      list: {
        label: "LIST.json",
        summary: "a saved answer of list --json",
        flag: "--from",
        isOptional: true,
        isJsonFile: true,
      },
    },
    schema: (z) =>
      z.strictObject({
        kind: z.optional(z.enum(["fs", "disk"])),
        volume: z.optional(z.string()),
        list: z.optional(z.unknown()),
      }),
    async run(mosaic, { kind, volume, list }) {
      if (list !== undefined && kind === undefined && volume === undefined) return mosaic.adoptFrom(list);
      if (list !== undefined || kind === undefined || volume === undefined) {
        throw new MosaicError("INVALID_ARGUMENT", "adopt takes either {fs|disk} VOLUME or --from LIST.json");
      }
      return mosaic.adoptVolume(volume, kind);
    },
  }),
} as const satisfies Record<string, Action>;

/** The name of an action. */
export type ActionName = keyof typeof ACTIONS;

/** The names of all actions, in the table's order. */
export const ACTION_NAMES = Object.keys(ACTIONS) as ActionName[];

/** The action of this name, whose values are checked by its schema. */
export function actionOf(name: ActionName): Action {
  return ACTIONS[name];
}

/** The action that a word means: a name, another word for it, or a prefix of either. Undefined when there is none. */
export function findAction(word: string): ActionName | undefined {
  if (word === "") return undefined;
  const exact = ACTION_NAMES.find((name) => name === word || actionOf(name).aliases?.includes(word));
  const byName = ACTION_NAMES.find((name) => name.startsWith(word));
  return (
    exact ??
    byName ??
    ACTION_NAMES.find((name) => actionOf(name).aliases?.some((alias) => alias.startsWith(word)))
  );
}

/** Runs an action with values that come from outside. Throws INVALID_ARGUMENT when they are not what it takes. */
export async function runAction(
  mosaic: Mosaic,
  name: ActionName,
  values: Readonly<Record<string, unknown>>,
): Promise<object> {
  const action = actionOf(name);
  const parsed = action.schema(await import("./zod.ts")).safeParse(values);
  if (parsed.success) return action.run(mosaic, parsed.data);
  const issue = chooseIssue(parsed.error.issues);
  const parameter = issue.keys?.[0] ?? issue.path.join(".");
  const fault = issue.keys ? "there is no such parameter" : `expected ${describeExpected(issue)}`;
  throw new MosaicError("INVALID_ARGUMENT", `Invalid parameter ${quote(parameter)} of ${name}: ${fault}`, {
    parameter,
  });
}

function parseMountFlags(text: string): boolean {
  const flags = text.split(",");
  const unknown = flags.find((flag) => flag !== "ro" && flag !== "rw");
  if (unknown !== undefined)
    throw new MosaicError("INVALID_ARGUMENT", `Unknown mount flag ${quote(unknown)}: expected ro or rw`, {
      flag: unknown,
    });
  if (flags.includes("ro") && flags.includes("rw"))
    throw new MosaicError("INVALID_ARGUMENT", "The mount flags ro and rw exclude each other");
  return flags.includes("ro");
}
