import { describe, expect, test } from "bun:test";
import { ACTION_NAMES, actionOf } from "../../src/api/actions.ts";
import { COMMON_FLAGS, synopsisOf } from "../../src/cli/arguments.ts";
import { EXIT_CODES } from "../../src/cli/exitcodes.ts";
import { formatHelp } from "../../src/cli/help.ts";

const OPTIONS = Object.entries(COMMON_FLAGS);

function expectLine(help: string, left: string, right: string): void {
  const line = help.split("\n").find((candidate) => candidate.startsWith(`  ${left} `));
  expect(line?.slice(left.length + 2).trim()).toBe(right);
}

describe("the help of moctl", () => {
  const help = formatHelp(undefined);

  test.each([...ACTION_NAMES])("shows how to call %s and what it does", (action) => {
    expectLine(`${help} `, synopsisOf(action).replace("moctl CONFIG ", ""), actionOf(action).summary);
  });

  test.each(OPTIONS)("explains the option %s", (flag, summary) => {
    expectLine(help, flag, summary);
  });

  test("has the actions in the order in which a prefix finds them", () => {
    const found = [...help.matchAll(/^ {2}([a-z]+)/gm)].map((match) => match[1]);
    expect(found).toEqual([...ACTION_NAMES]);
  });

  test("explains every exit status", () => {
    const shown = help.slice(help.indexOf("Exit status:"));
    for (const status of new Set([0, ...Object.values(EXIT_CODES)])) {
      expect(shown).toMatch(new RegExp(`\\b${status} [a-z]`));
    }
  });

  test("fits a terminal of 120 columns and ends with one newline", () => {
    for (const line of help.split("\n")) expect(line.length).toBeLessThanOrEqual(120);
    expect(help).toMatch(/[^\n]\n$/);
  });
});

describe.each([...ACTION_NAMES])("the help of %s", (name) => {
  const help = formatHelp(name);
  const action = actionOf(name);

  test("begins with its synopsis and summary", () => {
    expect(help).toStartWith(`Usage: ${synopsisOf(name)}\n\n${name}: ${action.summary}.\n`);
  });

  test("has all of its details, wrapped", () => {
    expect(help.replaceAll("\n", " ")).toContain(action.details);
    for (const line of help.split("\n")) expect(line.length).toBeLessThanOrEqual(110);
  });

  test("explains every argument, every option and every other word for it", () => {
    for (const { flag, label, summary } of Object.values(action.arguments))
      expectLine(help, flag ? `${flag} ${label}` : label, summary);
    for (const [flag, summary] of OPTIONS) expectLine(help, flag, summary);
    for (const alias of action.aliases ?? []) expect(help).toContain(`Another word for it is ${alias}.`);
  });
});
