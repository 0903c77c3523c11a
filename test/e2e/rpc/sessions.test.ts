import { afterEach, expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { BEDS, type Bed, describeOnBed } from "../../support/beds.ts";
import { clearBed } from "../../support/foreign.ts";
import { moctl } from "../moctl.ts";
import { Client } from "./client.ts";
import { findDifference, parseExpected, parseSessions, type Turn } from "./transcript.ts";

// The sessions of doc/rpc.txt go as they are written.

const MANUAL = readFileSync(join(import.meta.dir, "../../../doc/rpc.txt"), "utf8");
const SESSIONS = parseSessions(MANUAL);

test("all sessions of the manual were seen", () => {
  expect(SESSIONS.length).toBe(6);
  const turns = SESSIONS.flatMap((session) => session.turns).filter(({ kind }) => kind !== "command");
  const section = MANUAL.slice(MANUAL.indexOf("\nSESSIONS\n"));
  expect(turns.length).toBe((section.match(/^ {6}(->|<-) /gm) ?? []).length);
});

test.each([
  ['{"a":1}', { a: 2 }],
  ['{"a":1}', { a: 1, b: 1 }],
  ['{"a":1,...}', { b: 1 }],
  ['{"a":{"b":TIME}}', { a: { b: "today" } }],
  ['{"a":[1,2]}', { a: [1] }],
  ['{"a":[...]}', { a: {} }],
  ['{"a":PID}', { a: null }],
])("what differs from %s is seen", (text, actual) => {
  expect(findDifference(parseExpected(text), actual)).toBeDefined();
});

describeOnBed(BEDS.loop[1], (bed) => {
  afterEach(() => clearBed(bed));
  test.each(SESSIONS.map(({ title, turns }, index) => [title, turns, index] as const))(
    "%s",
    (_title, turns, index) => replay(bed, turns, join(bed.directory, `host${index}`)),
  );
});

/** Goes through a session on a host of its own: `directory` has the config, and /srv of the manual. */
async function replay(bed: Bed, turns: readonly Turn[], directory: string): Promise<void> {
  mkdirSync(join(directory, "srv/web"), { recursive: true });
  const config = bed.writeConfig("vm");
  const place = (text: string) => text.replaceAll("/srv/", `${directory}/srv/`).replaceAll("\\r\\n", "\r\n");
  const start = turns.findIndex((turn) => turn.kind === "command" && turn.words.at(-1) === "rpc");
  for (const turn of turns.slice(0, start)) runCommand(turn, config, directory);
  await using client = new Client([config, "rpc"], join(directory, "run"));
  let said = "";
  let isByHeaders = false;
  for (const turn of turns.slice(start + 1)) {
    if (turn.kind === "client") {
      said += place(turn.text).startsWith("Content-") ? place(turn.text) : `${place(turn.text)}\n`;
      isByHeaders ||= turn.text.startsWith("Content-");
      continue;
    }
    // What the client says in one go reaches the server in one piece.
    if (said !== "") client.send(said);
    said = "";
    if (turn.kind === "command") runCommand(turn, config, directory);
    else if (!isByHeaders) await expectMessage(client, place(turn.text));
  }
  const { exit, rest } = await client.end();
  const headed = turns.filter(({ kind }) => isByHeaders && kind === "server");
  expect({ exit, rest: rest.join("\n") }).toEqual({
    exit: 0,
    rest: headed.map((turn) => (turn.kind === "server" ? place(turn.text) : "")).join(""),
  });
}

async function expectMessage(client: Client, text: string): Promise<void> {
  const line = await client.line();
  const difference = findDifference(parseExpected(text), JSON.parse(line));
  expect({ text, line, difference }).toEqual({ text, line, difference: undefined });
}

function runCommand(turn: Turn, config: string, directory: string): void {
  if (turn.kind !== "command") throw new Error("a session begins with the start of a server");
  const args = turn.words.slice(1).map((word) => (word === "./vm.mos" ? config : word));
  const { exit, stderr } = moctl(args, { env: { MOSAIC_RUN_DIR: join(directory, "run") } });
  expect({ words: turn.words, exit, stderr }).toEqual({ words: turn.words, exit: 0, stderr: "" });
}
