import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { BEDS, type Bed, describeOnBed, makeTestDirectory, removeTestDirectory } from "../../support/beds.ts";
import { clearBed } from "../../support/foreign.ts";
import { MOCTL } from "../moctl.ts";
import { Client } from "./client.ts";
import { findServer, makeFifo, startShell, untilStalled } from "./shell.ts";
import { callText, residentBytes, SELFTEST } from "./wire.ts";

// The conformance cases of clients that do not read.

const MIB = 1024 ** 2;

let directory = "";
beforeAll(() => {
  directory = makeTestDirectory("rpc");
});
afterAll(() => removeTestDirectory(directory));

test("case 37: 20 000 long calls of a client that does not read cost no memory, and are all answered then", async () => {
  using out = makeFifo(directory, "answers");
  const program = `my $filler = "x" x 10000;
    print qq({"jsonrpc":"2.0","id":$_,"method":"echo","params":["$filler"]}\\n) for 0..19999`;
  await using shell = startShell('perl -e "$2" | "$0" --rpc --selftest >"$1"', [out.path, program]);
  const server = await findServer(shell.child.pid);
  await untilStalled(server);
  expect(await residentBytes(server)).toBeLessThan(100 * MIB);
  const reader = Bun.spawn(["cat", out.path], { stdout: "pipe", timeout: 60_000 });
  const ids = new Set<number>();
  let rest = "";
  for await (const chunk of reader.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const { id, result } = JSON.parse(line) as { id: number; result: { value: string } };
      if (result.value.length === 10_000) ids.add(id);
    }
  }
  expect([ids.size, rest]).toEqual([20_000, ""]);
});

test("case 37: what is too much is refused as overloaded, and is not run", async () => {
  await using client = new Client(SELFTEST);
  for (let index = 0; index < 32 + 256; index++) client.begin("sleep", { ms: 100_000 });
  const id = client.begin("sleep", { ms: 0 });
  expect(await client.receive()).toMatchObject({
    id,
    error: { code: 1014, data: { retryable: true, sideEffects: "none", details: { reason: "overloaded" } } },
  });
});

describeOnBed(BEDS.plain[0], (bed) => {
  afterEach(() => clearBed(bed));
  test("case 37: a subscriber that falls behind gets one event that says what it lost", () =>
    loseEvents(bed, true));
  test("case 37: a subscriber that fell behind is told of it also when nothing more happens", () =>
    loseEvents(bed, false));
});

async function loseEvents(bed: Bed, isFollowed: boolean): Promise<void> {
  using out = makeFifo(directory, `events-${isFollowed}`);
  const env = { ...process.env, MOSAIC_RUN_DIR: join(bed.directory, `run-${isFollowed}`) };
  await using shell = startShell(`exec "$0" "$2" rpc --selftest >"$1"`, [out.path, bed.config], env);
  const { child } = shell;
  child.stdin.write(`${callText(1, "events.subscribe")}\n`);
  // More than may wait: from now on events are held back, and the server reads no more.
  for (let id = 2; id < 5; id++) child.stdin.write(`${callText(id, "echo", ["x".repeat(MIB)])}\n`);
  Promise.resolve(child.stdin.flush()).catch(() => {});
  await untilStalled(child.pid);
  for (const name of ["a", "b", "c"]) change(bed, env, "create", "fs", name);
  await untilStalled(child.pid);
  const reader = Bun.spawn(["cat", out.path], { stdout: "pipe", timeout: 60_000, killSignal: "SIGKILL" });
  const text = reader.stdout.text();
  await untilStalled(child.pid);
  if (isFollowed) change(bed, env, "drop", "a");
  await untilStalled(child.pid);
  await child.stdin.end();
  expect(await child.exited).toBe(0);
  const events = (await text)
    .trimEnd()
    .split("\n")
    .flatMap((line) => (JSON.parse(line) as { params?: object }).params ?? []);
  expect(events).toMatchObject([
    { type: "events.lost", data: { from: 1, to: 3 } },
    ...(isFollowed ? [{ type: "dropped", seq: 4 }] : []),
  ]);
}

function change(bed: Bed, env: NodeJS.ProcessEnv, ...args: string[]): void {
  const { exitCode } = Bun.spawnSync([MOCTL, bed.config, ...args], { env, timeout: 60_000 });
  expect({ args, exitCode }).toEqual({ args, exitCode: 0 });
}
