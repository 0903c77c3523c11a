import { afterEach, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BEDS, type Bed, describeOnBed } from "../support/beds.ts";
import { until } from "../support/expect.ts";
import { clearBed } from "../support/foreign.ts";
import { Holders } from "./holders.ts";
import { createFs, expectOneMessage, parseOneObject, startMoctl, succeed } from "./moctl.ts";
import { startInNamespace } from "./namespaces.ts";

// A signal ends the step at work, undoes what was done, and is the exit status.

const SIGNALS = [
  ["SIGHUP", 129],
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const;

describeOnBed(BEDS.loop[1], (bed) => {
  const holders = new Holders();
  afterEach(async () => {
    await holders.release();
    clearBed(bed);
  });
  test.each(SIGNALS)("%s in the middle of create undoes it", (signal, exit) => stopCreate(bed, signal, exit));
  test.each(SIGNALS)("%s ends the wait for a lock", (signal, exit) =>
    stopWaiting(bed, holders, signal, exit),
  );
});

/** A mkfs that says when it began, and goes on when it is told. */
function writeSlowTool(bed: Bed): { setup: string; began: string; goOn: () => void } {
  const [tool, real, began, go] = ["mkfs", "real", "began", "go"].map((name) =>
    join(bed.directory, name),
  ) as [string, string, string, string];
  writeFileSync(
    tool,
    `#!/bin/sh\ntouch ${began}\nwhile [ ! -e ${go} ]; do sleep 0.02; done\nexec ${real} "$@"\n`,
  );
  chmodSync(tool, 0o755);
  const setup = `cp "$(readlink -f /usr/sbin/mkfs.ext4)" ${real}\nmount --bind ${tool} /usr/sbin/mkfs.ext4`;
  return { setup, began, goOn: () => writeFileSync(go, "") };
}

async function stopCreate(bed: Bed, signal: NodeJS.Signals, exit: number): Promise<void> {
  for (const options of [[], ["--json"]]) {
    const { setup, began, goOn } = writeSlowTool(bed);
    const child = startInNamespace(setup, [bed.config, "create", "fs", "a/web", "16m", ...options]);
    await until("mkfs to begin", () => existsSync(began));
    expect(readdirSync(bed.location)).toEqual([".mosaic"]);
    child.kill(signal);
    goOn();
    const { stdout, stderr, ...ended } = await child.ended;
    expect({ ...ended, stdout }).toEqual({ exit, stdout: "" });
    if (options.length > 0)
      expect(parseOneObject(stderr)).toMatchObject({ error: { code: "CANCELLED", details: { signal } } });
    else expectOneMessage(stderr);
    expect(stderr).toContain(signal);
    expect(readdirSync(bed.location)).toEqual([]);
    Bun.spawnSync(["rm", "-f", began, join(bed.directory, "go"), join(bed.directory, "real")]);
  }
}

async function stopWaiting(bed: Bed, holders: Holders, signal: NodeJS.Signals, exit: number): Promise<void> {
  createFs(bed, "web");
  await holders.hold(`exec flock "$1" sh -c 'echo ready; exec sleep 600'`, join(bed.location, "web"));
  const child = startMoctl([bed.config, "drop", "web", "--wait", "60"]);
  await until("moctl to wait", () => isOpenIn(child.pid, join(bed.location, "web")));
  const start = performance.now();
  child.kill(signal);
  const { stderr, ...ended } = await child.ended;
  expect(ended).toEqual({ exit, stdout: "" });
  expectOneMessage(stderr);
  expect(performance.now() - start).toBeLessThan(20_000);
  await holders.release();
  expect(succeed(bed.config, "have", "web")).toBe("web exists: yes\n");
}

function isOpenIn(pid: number, path: string): boolean {
  return Bun.spawnSync(["find", `/proc/${pid}/fd`, "-lname", path]).stdout.length > 0;
}
