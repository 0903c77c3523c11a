import { MosaicError } from "../base/errors.ts";
import type { Kind } from "../location/record.ts";
import type { Holder } from "../system/holders.ts";
import type { ActionName } from "./actions.ts";
import type { Mosaic } from "./mosaic.ts";

// Agents repeat a call whose answer they lost. The library and the command line say what is in the way; here a repeat that
// finds just what it asks for is a success.

type Values = Readonly<Record<string, unknown>>;

/** What an action that changes something says of it, and what it answers where nothing was left to change. */
export interface Repeat {
  /** The member of the answer that tells whether this call did it. */
  readonly effect: "created" | "changed";
  /** The answer for an error of a harmless repeat; undefined when it is no such error. Throws the error with what differs. */
  readonly answer: (mosaic: Mosaic, values: Values, error: MosaicError) => Promise<object | undefined>;
}

/** The actions that agents may repeat. */
export const REPEATS: Readonly<Partial<Record<ActionName, Repeat>>> = {
  create: { effect: "created", answer: answerCreate },
  clone: { effect: "created", answer: answerClone },
  drop: { effect: "changed", answer: whereAbsent(["absent"]) },
  detach: { effect: "changed", answer: whereAbsent(["absent", "not-attached"]) },
  umount: { effect: "changed", answer: whereAbsent(["absent", "not-mounted"]) },
  attach: { effect: "changed", answer: answerAttach },
  mount: { effect: "changed", answer: answerMount },
};

async function answerCreate(mosaic: Mosaic, values: Values, error: MosaicError): Promise<object | undefined> {
  if (!isOwnName(values, error)) return undefined;
  const record = await mosaic.getVolume(String(values.volume));
  const { kind, sizeBytes } = values as { kind: Kind; sizeBytes?: number };
  const diff = {
    ...(kind !== record.kind && { kind: { asked: kind, found: record.kind } }),
    ...(sizeBytes !== undefined &&
      sizeBytes !== record.sizeBytes && { sizeBytes: { asked: sizeBytes, found: record.sizeBytes } }),
    ...(record.parentId !== null && { parentId: { asked: null, found: record.parentId } }),
  };
  if (Object.keys(diff).length > 0) throw withDiff(error, diff);
  return record;
}

async function answerClone(mosaic: Mosaic, values: Values, error: MosaicError): Promise<object | undefined> {
  if (!isOwnName(values, error)) return undefined;
  const origin = await mosaic.getVolume(String(values.origin));
  const record = await mosaic.getVolume(String(values.volume));
  if (record.parentId === origin.id) return record;
  throw withDiff(error, { parentId: { asked: origin.id, found: record.parentId } });
}

/** Whether a volume with the very name is in the way, and no other one. */
function isOwnName(values: Values, error: MosaicError): boolean {
  return (
    error.code === "ALREADY_EXISTS" && error.details.id !== undefined && error.details.name === values.volume
  );
}

/** For actions after which something is not there: it was not. Something else in its place is an error. */
function whereAbsent(reasons: readonly string[]): Repeat["answer"] {
  return async (_mosaic, values, { code, details }) => {
    const isAbsent = code === "NOT_FOUND" && reasons.includes(String(details.reason));
    return isAbsent && (details.found ?? null) === null ? values : undefined;
  };
}

async function answerAttach(
  _mosaic: Mosaic,
  { volume, readOnly = false, export: as }: Values,
  { code, details }: MosaicError,
): Promise<object | undefined> {
  if (code !== "BUSY" || details.reason !== "attached") return undefined;
  const isServed = String(details.device).startsWith("nbd");
  const isSame = details.readOnly === readOnly && isServed === (as === "nbd");
  return isSame ? { volume, device: details.device } : undefined;
}

async function answerMount(
  _mosaic: Mosaic,
  values: Values,
  { code, details }: MosaicError,
): Promise<object | undefined> {
  if (code !== "BUSY" || details.reason !== "mounted-here") return undefined;
  const readOnly = values.readOnly === true;
  const [holder] = details.holders as Holder[];
  const isSame = holder?.kind === "mount" && holder.readOnly === readOnly;
  return isSame ? { ...values, readOnly } : undefined;
}

function withDiff(error: MosaicError, diff: object): MosaicError {
  const words = Object.entries(diff as Record<string, { asked: unknown; found: unknown }>)
    .map(([key, { asked, found }]) => `${key} ${String(asked)} was asked, ${String(found)} is there`)
    .join(", ");
  return new MosaicError(error.code, `${error.message}: ${words}`, { ...error.details, diff }, error);
}
