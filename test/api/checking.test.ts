import { afterAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkMosaic, reportClosed } from "../../src/api/checking.ts";
import { loadConfig } from "../../src/api/open.ts";
import type { Backend } from "../../src/backends/backend.ts";
import { MosaicError } from "../../src/base/errors.ts";
import { parseStoredName } from "../../src/base/names.ts";
import type { Finding } from "../../src/location/finding.ts";
import { makeTestDirectory, removeTestDirectory } from "../support/beds.ts";
import { expectError } from "../support/expect.ts";

// What becomes of a backend's findings, by a backend that has only these.

const directory = makeTestDirectory("checking");
afterAll(() => removeTestDirectory(directory));

const PROBLEM: Finding = { code: "x", severity: "problem", subject: "web", message: "it is wrong" };
const NOTE: Finding = { ...PROBLEM, severity: "note" };

function writeConfig(...lines: readonly string[]): string {
  const path = join(directory, "it's.mos");
  mkdirSync(join(directory, "location"), { recursive: true });
  writeFileSync(path, ["type: plain", "location: ./location", ...lines, ""].join("\n"), { mode: 0o644 });
  return path;
}

async function check(findings: () => AsyncIterable<Finding>, repair = false, path = writeConfig()) {
  return checkMosaic(await loadConfig(path), { check: findings } as Backend, repair);
}

async function* give(...findings: readonly Finding[]): AsyncGenerator<Finding> {
  yield* findings;
}

test("problems are counted, and notes are not", async () => {
  const report = await check(() => give(PROBLEM, NOTE, PROBLEM));
  const same = { advice: null, isRepairable: false, isRepaired: false, error: null };
  expect(report).toEqual({
    problems: 2,
    findings: [
      { ...PROBLEM, ...same },
      { ...NOTE, ...same },
      { ...PROBLEM, ...same },
    ],
  });
  expect(await check(() => give())).toEqual({ problems: 0, findings: [] });
});

test("repairs are done only when they are asked for, each before the next finding is looked for", async () => {
  const log: string[] = [];
  const findings = async function* () {
    for (const subject of ["a", "b"]) {
      log.push(`find ${subject}`);
      yield { ...PROBLEM, subject, repair: async () => void log.push(`mend ${subject}`) };
    }
  };
  expect(await check(findings)).toMatchObject({
    problems: 2,
    findings: [
      { isRepairable: true, isRepaired: false },
      { isRepairable: true, isRepaired: false },
    ],
  });
  expect(log.splice(0)).toEqual(["find a", "find b"]);
  expect(await check(findings, true)).toMatchObject({
    problems: 0,
    findings: [{ isRepaired: true }, { isRepaired: true }],
  });
  expect(log).toEqual(["find a", "mend a", "find b", "mend b"]);
});

test("a repair that fails leaves the problem, and the rest goes on", async () => {
  const busy = new MosaicError("BUSY", "somebody uses it");
  const failing = { ...PROBLEM, repair: () => Promise.reject(busy) };
  const report = await check(() => give(failing, { ...PROBLEM, repair: async () => {} }), true);
  expect(report).toMatchObject({
    problems: 1,
    findings: [
      { isRepairable: true, isRepaired: false, error: busy },
      { isRepaired: true, error: null },
    ],
  });
});

test("a stop and a bug end the check", async () => {
  const fail = (thrown: Error) => give({ ...PROBLEM, repair: () => Promise.reject(thrown) });
  await expectError("CANCELLED", () => check(() => fail(new MosaicError("CANCELLED", "stop")), true));
  await expect(check(() => fail(new TypeError("a bug")), true)).rejects.toThrow("a bug");
});

test("the command to adopt is quoted for a shell, and is no command where only people know the name", async () => {
  const adoptable = { storedName: parseStoredName("a/old"), kind: "disk" } as const;
  const path = writeConfig();
  const advice = (await check(() => give({ ...NOTE, adoptable }))).findings[0]?.advice;
  expect(advice).toBe(`moctl '${path.replace("'", `'\\''`)}' adopt disk a/old`);
  const own = await check(() => give({ ...NOTE, adoptable, advice: "mv" }));
  expect(own.findings[0]?.advice).toBe("mv");
  const mapped = writeConfig("volumeMap: \\([a-z]\\)\\(.*\\) \\1/\\2");
  const { findings } = await check(() => give({ ...NOTE, adoptable }), false, mapped);
  expect(findings[0]?.advice).toBe(
    `moctl ${mapped} adopt disk NAME, with the NAME that the volume map sends to a/old`,
  );
});

test("a location that cannot be opened is one problem", async () => {
  const config = await loadConfig(writeConfig());
  const report = await reportClosed(config, new MosaicError("UNAVAILABLE", "it is not mounted"));
  expect(report).toEqual({
    problems: 1,
    findings: [
      {
        code: "location",
        severity: "problem",
        subject: join(directory, "location"),
        message: "it is not mounted",
        advice: null,
        isRepairable: false,
        isRepaired: false,
        error: null,
      },
    ],
  });
});
