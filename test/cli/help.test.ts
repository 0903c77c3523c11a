import { describe, expect, test } from "bun:test";
import { ACTION_NAMES, actionOf } from "../../src/api/actions.ts";
import { MANUAL } from "../../src/api/manual.ts";
import { resultSchemas } from "../../src/api/resultschemas.ts";
import { SERVER_STARTS } from "../../src/api/serving.ts";
import { COMMON_FLAGS, synopsisOf } from "../../src/cli/arguments.ts";
import {
  EXIT_CODES,
  EXIT_INPUT_BROKEN,
  EXIT_OUTPUT_LOST,
  EXIT_PIPE_CLOSED,
} from "../../src/cli/exitcodes.ts";
import { formatHelp } from "../../src/cli/help.ts";
import { synopsisOfUse } from "../../src/cli/reference.ts";

const OPTIONS = Object.entries(COMMON_FLAGS);

function expectLine(help: string, left: string, right: string): void {
  const lines = help.split("\n").filter((candidate) => `${candidate} `.startsWith(`  ${left} `));
  expect(lines.map((line) => line.slice(left.length + 2).trim())).toContain(right);
}

/** Text without the breaks of its lines. */
const unfold = (text: string) => text.replaceAll(/\s+/g, " ");

describe("the help of moctl", () => {
  const help = formatHelp(undefined);

  test.each([...ACTION_NAMES])("shows how to call %s and what it does", (action) => {
    for (const use of MANUAL[action])
      expectLine(help, synopsisOfUse(action, use), use.summary ?? actionOf(action).summary);
  });

  test.each(OPTIONS)("explains the option %s", (flag, summary) => {
    expectLine(help, flag, summary);
  });

  test.each(Object.entries(SERVER_STARTS))("shows how to start a server: %s", (words, summary) => {
    expectLine(help, words, summary);
  });

  test("has the actions in the order in which a prefix finds them", () => {
    const listed = help.slice(help.indexOf("Actions:"), help.indexOf("Without a config:"));
    const found = [...listed.matchAll(/^ {2}([a-z]+)/gm)].map((match) => match[1] ?? "");
    expect([...new Set(found)]).toEqual([...ACTION_NAMES]);
  });

  test("explains every exit status", () => {
    const shown = unfold(help.slice(help.indexOf("Exit status:")));
    const own = [0, ...Object.values(EXIT_CODES), EXIT_INPUT_BROKEN, EXIT_OUTPUT_LOST, EXIT_PIPE_CLOSED];
    for (const status of new Set(own)) expect(shown).toMatch(new RegExp(`[ :]${status} [a-z]`));
    expect(shown).toContain("128+N stopped by signal N");
  });

  test("fits a terminal of 120 columns and ends with one newline", () => {
    for (const line of help.split("\n")) expect(line.length).toBeLessThanOrEqual(120);
    expect(help).toMatch(/[^\n]\n$/);
  });
});

describe.each([...ACTION_NAMES])("the help of %s", (name) => {
  const help = formatHelp(name);
  const action = actionOf(name);

  test("begins with its synopses and summary", () => {
    const synopses = MANUAL[name].map((use) => `moctl CONFIG ${synopsisOfUse(name, use)}`);
    expect(help).toStartWith(`Usage: ${synopses.join("\n       ")}\n\n${name}: ${action.summary}.\n`);
  });

  test("says all that the manual says, filled", () => {
    for (const use of MANUAL[name]) {
      for (const block of [...use.text, ...use.prints, ...(use.json ?? []), ...(use.notes ?? [])])
        expect(unfold(help)).toContain(unfold([block].flat().join("\n")));
      for (const [code, when] of Object.entries(use.errors))
        expect(unfold(help)).toContain(`${code} ${EXIT_CODES[code as keyof typeof EXIT_CODES]}: ${when}`);
      for (const example of use.examples ?? []) expect(help).toContain(`    ${example[0]}\n`);
    }
  });

  test("explains every argument, every option and every other word for it", () => {
    for (const { flag, label, summary } of Object.values(action.arguments))
      expectLine(help, `${flag ?? ""} ${label}`.trim(), summary);
    for (const [flag, summary] of OPTIONS) expectLine(help, flag, summary);
    for (const alias of action.aliases ?? []) expect(help).toContain(`Another word for it is ${alias}.`);
  });
});

describe.each([...ACTION_NAMES])("the manual of %s", (name) => {
  const action = actionOf(name);

  test("has each argument in one of its ways, and no other", () => {
    const known = Object.keys(action.arguments);
    const taken = MANUAL[name].flatMap((use) => use.takes ?? known);
    expect([...new Set(taken)].sort()).toEqual(known.sort());
    if (MANUAL[name].length === 1)
      expect(`moctl CONFIG ${synopsisOfUse(name, MANUAL[name][0])}`).toBe(synopsisOf(name));
  });

  test("has answers such as the schemas allow", async () => {
    const schemas = resultSchemas(await import("zod/mini"));
    for (const { answer } of MANUAL[name]) {
      if (!answer) continue;
      const results = new Set(Object.values(action.methods).map((method) => method.result));
      const fitting = [...results].filter((result) => schemas[result].safeParse(answer).success);
      expect({ answer, fitting }).toEqual({ answer, fitting: [expect.any(String)] });
    }
  });
});
