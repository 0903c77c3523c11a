import type * as zod from "zod/mini";
import { type ErrorCode, MosaicError, quote } from "../base/errors.ts";
import { parseSize } from "../base/size.ts";
import type { Config } from "./config.ts";
import { chooseIssue, describeExpected } from "./issues.ts";
import type { Mosaic } from "./mosaic.ts";
import type { AdoptReport, CheckReport } from "./results.ts";
import type { ResultName } from "./resultschemas.ts";

// The one table of actions: the command line with its help, and every other way in, are read off it.

/** An argument as a command line has it: by its place, or after a flag. */
export interface Argument {
  /** Such as "VOLUME" in a synopsis. */
  readonly label: string;
  readonly summary: string;
  /** The flag in front of it, such as "-o"; by its place when absent. */
  readonly flag?: string;
  /** Whether the flag stands alone and means true. */
  readonly isSwitch?: boolean;
  /** The words it may be, of which a prefix is enough. */
  readonly choices?: readonly string[];
  readonly isOptional?: boolean;
  /** Whether the text is the path of a JSON file, whose content is the value. */
  readonly isJsonFile?: boolean;
  /** The words that a shell offers, beside choices; ":volumes", ":directories" and ":files" stand for all of them. */
  readonly completes?: readonly string[];
  /** The value in its text; the text itself when absent. Throws INVALID_ARGUMENT. */
  readonly parse?: (text: string) => unknown;
}

/** How a method of an agent becomes a call of its action. */
export interface Method {
  /** The schema of the result. */
  readonly result: ResultName;
  /** Values that the method's name says already. */
  readonly implies?: Readonly<Record<string, unknown>>;
  /** Values that are optional for the action and needed for the method. */
  readonly requires?: readonly string[];
  /** Whether its result has a list "volumes", which an agent gets in pages. */
  readonly isPaged?: boolean;
}

type Zod = typeof import("./zod.ts");

/** One action. */
export interface Action<Schema extends zod.ZodMiniType = zod.ZodMiniType> {
  /** What it does, in one line; manual.ts has more. */
  readonly summary: string;
  /** Other words for the action. */
  readonly aliases?: readonly string[];
  /** The arguments by the names of their values, those by place in their order. */
  readonly arguments: Readonly<Record<string, Argument>>;
  /** What the values must be. A function, because a schema at module level would cost every start. */
  readonly schema: (z: Zod) => Schema;
  /** Its methods for agents: "volume." for what works on one volume, "mosaic." for the rest. */
  readonly methods: Readonly<Record<string, Method>>;
  /** Whether it changes something; one that only reads may be told so by its values. */
  readonly mutates: boolean;
  /** Does it; the result is an object of JSON values. Throws MosaicError. */
  readonly run: (mosaic: Mosaic, values: zod.infer<Schema>) => Promise<object>;
  /** What it answers about a mosaic whose location cannot be opened; that is an error when absent. */
  readonly whenClosed?: (config: Config, error: MosaicError) => Promise<object>;
  /** The code for the exit status of a result that tells of a failure; undefined when it does not. */
  readonly failureOf?: (result: object) => ErrorCode | undefined;
}

/** Lets the compiler hold an action's function against its schema; the table itself is of plain actions. */
function defineAction<Schema extends zod.ZodMiniType>(action: Action<Schema>): Action {
  return action as unknown as Action;
}

const NAME: Argument = { label: "VOLUME", summary: "the volume's name" };
const VOLUME: Argument = { ...NAME, completes: [":volumes"] };
const MOUNTPOINT: Argument = {
  label: "MOUNTPOINT",
  summary: "an existing directory, no symbolic link",
  completes: [":directories"],
};
const MOUNTED: Argument = {
  label: "{VOLUME|-}",
  summary: "the volume's name, or - for the mosaic's metadata",
  completes: ["-", ":volumes"],
};
const READ_ONLY: Argument = {
  label: "FLAGS",
  summary: "ro or rw",
  flag: "-o",
  isOptional: true,
  completes: ["ro", "rw"],
  parse: parseMountFlags,
};
const KIND: Argument = {
  label: "{fs|disk}",
  summary: "fs: ready to mount; disk: a bare device",
  choices: ["fs", "disk"],
};

/** What the command line says for the metadata in place of a volume's name. */
const METADATA = { volume: "-" };

/** The actions by name, in the order in which a prefix finds them: `m` is mount, `c` is create. */
export const ACTIONS = {
  mount: defineAction({
    summary: "mount a volume, or the metadata, onto a directory",
    arguments: {
      volume: MOUNTED,
      mountPoint: MOUNTPOINT,
      readOnly: READ_ONLY,
    },
    schema: (z) =>
      z.strictObject({ volume: z.string(), mountPoint: z.string(), readOnly: z.optional(z.boolean()) }),
    methods: { "volume.mount": { result: "mount" }, "mosaic.mount": { result: "mount", implies: METADATA } },
    mutates: true,
    async run(mosaic, { volume, mountPoint, readOnly = false }) {
      if (volume === "-") await mosaic.mountMetadata(mountPoint, { readOnly });
      else await mosaic.mountVolume(volume, mountPoint, { readOnly });
      return { volume, mountPoint, readOnly };
    },
  }),
  umount: defineAction({
    summary: "unmount a volume, or the metadata, from a directory",
    arguments: { volume: MOUNTED, mountPoint: { ...MOUNTPOINT, summary: "where it is mounted" } },
    schema: (z) => z.strictObject({ volume: z.string(), mountPoint: z.string() }),
    methods: {
      "volume.umount": { result: "umount" },
      "mosaic.umount": { result: "umount", implies: METADATA },
    },
    mutates: true,
    async run(mosaic, { volume, mountPoint }) {
      if (volume === "-") await mosaic.unmountMetadata(mountPoint);
      else await mosaic.unmountVolume(volume, mountPoint);
      return { volume, mountPoint };
    },
  }),
  attach: defineAction({
    summary: "make a block device of a volume, or show it at a socket",
    arguments: {
      volume: VOLUME,
      readOnly: READ_ONLY,
      export: {
        label: "nbd",
        summary: "show it by NBD at a unix socket",
        flag: "--export",
        isOptional: true,
        choices: ["nbd"],
      },
    },
    schema: (z) =>
      z.strictObject({
        volume: z.string(),
        readOnly: z.optional(z.boolean()),
        export: z.optional(z.enum(["nbd"])),
      }),
    methods: { "volume.attach": { result: "device" } },
    mutates: true,
    run: async (mosaic, { volume, ...options }) => ({
      volume,
      device: await mosaic.attachVolume(volume, options),
    }),
  }),
  detach: defineAction({
    summary: "remove the block device or the socket of a volume",
    arguments: { volume: VOLUME },
    schema: (z) => z.strictObject({ volume: z.string() }),
    methods: { "volume.detach": { result: "volume" } },
    mutates: true,
    async run(mosaic, { volume }) {
      await mosaic.detachVolume(volume);
      return { volume };
    },
  }),
  create: defineAction({
    summary: "make an empty volume",
    aliases: ["new"],
    arguments: {
      kind: KIND,
      volume: NAME,
      sizeBytes: { label: "SIZE", summary: "such as 512M", isOptional: true, parse: parseSize },
    },
    schema: (z) =>
      z.strictObject({
        kind: z.enum(["fs", "disk"]),
        volume: z.string(),
        sizeBytes: z.optional(z.int().check(z.positive())),
      }),
    methods: { "volume.create": { result: "record" } },
    mutates: true,
    run: (mosaic, { kind, volume, sizeBytes }) => mosaic.createVolume(volume, { kind, sizeBytes }),
  }),
  clone: defineAction({
    summary: "make a writable copy-on-write copy of a volume",
    arguments: {
      origin: { label: "OLD", summary: "the volume to copy", completes: [":volumes"] },
      volume: { label: "NEW", summary: "the copy's name" },
    },
    schema: (z) => z.strictObject({ origin: z.string(), volume: z.string() }),
    methods: { "volume.clone": { result: "record" } },
    mutates: true,
    run: (mosaic, { origin, volume }) => mosaic.cloneVolume(origin, volume),
  }),
  drop: defineAction({
    summary: "destroy a volume and all its data",
    arguments: { volume: VOLUME },
    schema: (z) => z.strictObject({ volume: z.string() }),
    methods: { "volume.drop": { result: "volume" } },
    mutates: true,
    async run(mosaic, { volume }) {
      await mosaic.dropVolume(volume);
      return { volume };
    },
  }),
  info: defineAction({
    summary: "tell what the mosaic can do, or all about a volume",
    arguments: { volume: { ...VOLUME, isOptional: true } },
    schema: (z) => z.strictObject({ volume: z.optional(z.string()) }),
    methods: {
      "mosaic.info": { result: "mosaic", implies: { volume: undefined } },
      "volume.info": { result: "details", requires: ["volume"] },
    },
    mutates: false,
    async run(mosaic, { volume }) {
      if (volume !== undefined) return mosaic.statVolume(volume);
      return { ...mosaic.info(), host: await mosaic.host() };
    },
  }),
  have: defineAction({
    summary: "tell whether a volume exists",
    arguments: { volume: VOLUME },
    schema: (z) => z.strictObject({ volume: z.string() }),
    methods: { "volume.have": { result: "existence" } },
    mutates: false,
    run: async (mosaic, { volume }) => mosaic.haveVolume(volume),
  }),
  list: defineAction({
    summary: "list the volumes",
    arguments: {},
    schema: (z) => z.strictObject({}),
    methods: { "volume.list": { result: "list", isPaged: true } },
    mutates: false,
    run: async (mosaic) => ({ volumes: mosaic.listVolumes() }),
  }),
  adopt: defineAction({
    summary: "make a foreign object a volume",
    arguments: {
      kind: { ...KIND, isOptional: true },
      volume: { ...NAME, isOptional: true },
      list: {
        label: "LIST.json",
        summary: "a saved answer of list --json",
        flag: "--from",
        isOptional: true,
        isJsonFile: true,
        completes: [":files"],
      },
    },
    schema: (z) =>
      z.strictObject({
        kind: z.optional(z.enum(["fs", "disk"])),
        volume: z.optional(z.string()),
        list: z.optional(z.unknown()),
      }),
    methods: {
      "volume.adopt": { result: "record", implies: { list: undefined }, requires: ["kind", "volume"] },
      "mosaic.adopt": {
        result: "adoptReport",
        implies: { kind: undefined, volume: undefined },
        requires: ["list"],
      },
    },
    mutates: true,
    async run(mosaic, { kind, volume, list }) {
      if (list !== undefined && kind === undefined && volume === undefined) return mosaic.adoptFrom(list);
      if (list !== undefined || kind === undefined || volume === undefined) {
        throw new MosaicError("INVALID_ARGUMENT", "adopt takes either {fs|disk} VOLUME or --from LIST.json");
      }
      return mosaic.adoptVolume(volume, kind);
    },
    failureOf: (result) => ("failed" in result ? (result as AdoptReport).failed[0]?.error.code : undefined),
  }),
  resize: defineAction({
    summary: "give a volume another size",
    arguments: {
      volume: VOLUME,
      sizeBytes: { label: "SIZE", summary: "such as 2G", parse: parseSize },
      shrink: {
        label: "",
        summary: "allow a smaller size",
        flag: "--shrink",
        isOptional: true,
        isSwitch: true,
      },
    },
    schema: (z) =>
      z.strictObject({
        volume: z.string(),
        sizeBytes: z.int().check(z.positive()),
        shrink: z.optional(z.boolean()),
      }),
    methods: { "volume.resize": { result: "record" } },
    mutates: true,
    run: (mosaic, { volume, sizeBytes, shrink = false }) =>
      mosaic.resizeVolume(volume, sizeBytes, { shrink }),
  }),
  check: defineAction({
    summary: "look for what is wrong with the mosaic and its host",
    arguments: {
      repair: {
        label: "",
        summary: "mend what can be mended",
        flag: "--repair",
        isOptional: true,
        isSwitch: true,
      },
    },
    schema: (z) => z.strictObject({ repair: z.optional(z.boolean()) }),
    methods: { "mosaic.check": { result: "checkReport" } },
    mutates: true,
    run: (mosaic, { repair = false }) => mosaic.check({ repair }),
    whenClosed: async (config, error) => (await import("./checking.ts")).reportClosed(config, error),
    failureOf: (result) => ((result as CheckReport).problems > 0 ? "DAMAGED" : undefined),
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

const schemas = new Map<ActionName, zod.ZodMiniType>();

/** The schema of an action, made once: an agent calls it a thousand times. */
async function schemaOf(name: ActionName): Promise<zod.ZodMiniType> {
  const known = schemas.get(name);
  if (known) return known;
  const schema = actionOf(name).schema(await import("./zod.ts"));
  schemas.set(name, schema);
  return schema;
}

/** Runs an action with values that come from outside. Throws INVALID_ARGUMENT when they are not what it takes. */
export async function runAction(
  mosaic: Mosaic,
  name: ActionName,
  values: Readonly<Record<string, unknown>>,
): Promise<object> {
  const parsed = (await schemaOf(name)).safeParse(values);
  if (parsed.success) return actionOf(name).run(mosaic, parsed.data);
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
