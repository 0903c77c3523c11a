import { join } from "node:path";
import type { Random } from "./random.ts";

// What clients say, at random.

/** The volumes, which all clients share so that they get into each other's way. */
export const VOLUMES = ["v0", "v1", "v2", "v3"];

const MIB = 1024 ** 2;

/** Where a volume is mounted, or the metadata, which is no volume: "meta". */
export function mountPointOf(directory: string, name: string): string {
  return join(directory, "mnt", name);
}

interface Call {
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/** A call, mostly one that makes sense. */
export function chooseCall(random: Random, directory: string): Call {
  const [volume, origin] = [random.choose(VOLUMES), random.choose(VOLUMES)];
  const [mountPoint, place] = [volume, "meta"].map((name) => mountPointOf(directory, name));
  const sizeBytes = random.choose([16, 24, 32]) * MIB;
  const kind = random.choose(["fs", "fs", "disk"]);
  const call = random.choose<Call>([
    { method: "volume.create", params: { volume, kind, sizeBytes } },
    { method: "volume.create", params: { volume, kind, sizeBytes } },
    { method: "volume.clone", params: { origin, volume } },
    { method: "volume.drop", params: { volume } },
    { method: "volume.mount", params: { volume, mountPoint, readOnly: random.happens(0.3) } },
    { method: "volume.umount", params: { volume, mountPoint } },
    { method: "volume.attach", params: { volume } },
    { method: "volume.detach", params: { volume } },
    { method: "volume.resize", params: { volume, sizeBytes } },
    { method: "volume.info", params: { volume } },
    { method: "volume.have", params: { volume } },
    { method: "volume.list", params: {} },
    { method: "mosaic.info", params: {} },
    { method: "mosaic.check", params: { repair: random.happens(0.3) } },
    { method: "mosaic.mount", params: { mountPoint: place } },
    { method: "mosaic.umount", params: { mountPoint: place } },
    { method: "events.subscribe", params: {} },
    { method: "events.unsubscribe", params: { subscription: `s${random.between(1, 20)}` } },
    { method: "job.list", params: {} },
    { method: "job.wait", params: { job: chooseJob(random), timeoutMs: random.between(0, 200) } },
    { method: "job.cancel", params: { job: chooseJob(random) } },
    { method: "job.dismiss", params: { job: chooseJob(random) } },
    { method: "server.ping", params: {} },
    { method: "volume.nothing", params: { [volume]: kind } },
  ]);
  return { ...call, params: { ...call.params, ...(random.happens(0.3) && { _meta: chooseMeta(random) }) } };
}

function chooseMeta(random: Random): object {
  return random.choose<object>([
    { timeoutMs: random.between(1, 100) },
    { progressToken: random.between(1, 5) },
    { dryRun: true },
    { nowait: true },
    { background: true, jobId: chooseJob(random) },
    { background: true },
    { requestKey: `key ${random.between(1, 50)}` },
  ]);
}

function chooseJob(random: Random): string {
  return `j${random.between(1, 30)}`;
}

/** What no client should send. */
export function chooseGarbage(random: Random): string {
  return random.choose([
    "",
    "\r",
    "{",
    "[]",
    "[1,{}]",
    "null",
    '{"jsonrpc":"2.0","id":{},"method":"server.ping"}',
    '{"jsonrpc":"2.0","result":1,"id":"nobody asked"}',
    '{"jsonrpc":"2.0","method":"volume.drop","params":{"volume":"v0"}}',
    '{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"unknown"}}',
    `"${"x".repeat(random.between(1, 300_000))}"`,
  ]);
}

const EXPECTED_CODES = [
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "BUSY",
  "LOCKED",
  "CANCELLED",
  "INVALID_ARGUMENT",
  "UNSUPPORTED",
  "UNAVAILABLE",
  "NO_SPACE",
];

/** Whether random calls may meet an error. A container may lack what growing in use needs; every other one is a fault. */
export function isExpected(code: string, call: string): boolean {
  return EXPECTED_CODES.includes(code) || (code === "PERMISSION_DENIED" && call.includes('"volume.resize"'));
}
