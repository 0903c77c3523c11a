import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { BEDS, type Bed, describeOnBed } from "../support/beds.ts";
import { until } from "../support/expect.ts";
import { MOCTL, moctl, succeed } from "./moctl.ts";
import { takePicture } from "./picture.ts";
import { runProgram, startProgram } from "./program.ts";
import { openTerminal, type Terminal } from "./terminal.ts";

// The completions in the shells themselves, as a person has them.

const VOLUMES = ["a_b", "g/db.x", "web", "web-2"];

/** Where shells are run: moctl is on their path, the bed's config is "bed", and there are directories with odd names. */
interface Place {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

function makePlace(bed: Bed): Place {
  const cwd = join(bed.directory, "place");
  for (const name of ["bin", "some dir", "other"]) mkdirSync(join(cwd, name), { recursive: true });
  symlinkSync(MOCTL, join(cwd, "bin/moctl"));
  const PATH = `${join(cwd, "bin")}:/usr/sbin:/usr/bin:/sbin:/bin`;
  return {
    cwd,
    env: { PATH, HOME: cwd, TERM: "dumb", LC_ALL: "C", MOSAIC_CONFIG_DIR: dirname(bed.config) },
  };
}

describeOnBed(BEDS.plain[0], (bed) => {
  let place: Place;
  beforeAll(() => {
    place = makePlace(bed);
    for (const name of VOLUMES) succeed(bed.config, "create", "fs", name);
  });

  /** What moctl offers. */
  function offer(...typed: string[]): string[] {
    const lines = succeed("completion", "fish", "--", ...typed).split("\n");
    return lines.slice(0, -1).map((line) => line.split("\t")[0] ?? "");
  }

  test("the volumes of the config that is named are offered, and nothing is changed", () => {
    const before = takePicture(bed.directory);
    expect(offer(bed.config, "drop", "")).toEqual(VOLUMES);
    expect(offer(bed.config, "info", "web")).toEqual(["web", "web-2"]);
    expect(offer(bed.config, "mount", "-o", "ro", "")).toEqual(["-", ...VOLUMES]);
    expect(offer(bed.config, "clone", "g/")).toEqual(["g/db.x"]);
    expect(offer(bed.config, "clone", "web", "")).toEqual([]);
    expect(offer(bed.config, "create", "fs", "w")).toEqual([]);
    expect(offer(`${bed.config}.none`, "drop", "")).toEqual([]);
    expect(takePicture(bed.directory)).toEqual(before);
  });

  test("a config is read as bash has it in the line", () => {
    const quoted = [bed.config.replaceAll("-", "\\-"), `"${bed.config}"`, `'${bed.config}`];
    for (const config of [...quoted, bed.config.replace(/\/bed\.mos$/, "/'bed'.mos")])
      expect(succeed("completion", "bash", "--", config, "drop", "a")).toBe("a_b\tfs\n");
    const env = { HOME: bed.directory };
    expect(moctl(["completion", "bash", "--", "~/bed.mos", "drop", "a"], { env }).stdout).toBe("a_b\tfs\n");
  });

  test("a lock is not waited for", async () => {
    const volume = join(bed.location, "web");
    const holder = startProgram(["flock", "--no-fork", volume, "sleep", "infinity"]);
    try {
      await until("the lock", () => runProgram(["flock", "--nonblock", volume, "true"]).exit === 1);
      expect(offer(bed.config, "drop", "")).toEqual(VOLUMES);
    } finally {
      holder.kill("SIGKILL");
      await holder.exited;
    }
  });

  test("who may not read records is offered none, without a word", () => {
    const argv = ["setpriv", "--reuid", "65534", "--clear-groups", MOCTL];
    expect(runProgram([...argv, "completion", "bash", "--", bed.config, "drop", ""])).toEqual({
      exit: 0,
      stdout: "",
      stderr: "",
    });
  });

  test.each<[line: string, offered: string[]]>([
    ["moctl b", ["bed"]],
    ["moctl bed dr", ["drop"]],
    ["moctl bed drop ", VOLUMES],
    ["moctl bed info g", ["g/db.x"]],
    ["moctl bed create ", ["disk", "fs"]],
    ["moctl bed create fs ", []],
    ["moctl bed mount web s", ["some dir/"]],
    ["moctl bed list --js", ["--json"]],
    ["moctl ../bed.", ["../bed.mos"]],
    ["moctl ../bed.mos drop web-", ["web-2"]],
  ])("fish completes %j", (line, offered) => {
    const script = "moctl completion fish | source; complete -C $argv[1]";
    const ended = runProgram(["fish", "--no-config", "-c", script, line], place);
    expect({
      ...ended,
      stdout: ended.stdout
        .split("\n")
        .filter(Boolean)
        .map((text) => text.split("\t")[0]),
    }).toEqual({
      exit: 0,
      stderr: "",
      stdout: offered,
    });
  });

  for (const [shell, argv, load] of [
    ["bash", ["bash", "--norc", "--noprofile", "-i"], 'eval "$(moctl completion bash)"'],
    ["zsh", ["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(moctl completion zsh)"],
  ] as const) {
    let terminal: Terminal | undefined;
    afterAll(() => terminal?.close());

    test.each<[line: string, completed: string]>([
      ["moctl b", "moctl bed "],
      ["moctl bed dr", "moctl bed drop "],
      ["moctl bed info g", "moctl bed info g/db.x "],
      ["moctl bed create d", "moctl bed create disk "],
      ["moctl bed mount a_b so", "moctl bed mount a_b some\\ dir/"],
      ["moctl bed list --js", "moctl bed list --json "],
      ["moctl ../bed.m", "moctl ../bed.mos "],
      ["moctl ../bed.mos drop a", "moctl ../bed.mos drop a_b "],
      ["moctl ../bed.mos drop w", "moctl ../bed.mos drop web"],
    ])(`${shell} completes %j to %j`, async (line, completed) => {
      terminal ??= await openShell(argv, load, place);
      await terminal.type(`${line}\t`, (shown) => visible(shown).endsWith(completed));
      // Takes the line away before the next one.
      await terminal.type("\x15echo CLEA''RED\n", (shown) => /\nCLEARED\r?\n.*READY>/s.test(shown));
    });
  }
});

/** A shell at its prompt, with the completions loaded. */
async function openShell(argv: readonly string[], load: string, place: Place): Promise<Terminal> {
  const terminal = openTerminal(argv, place);
  await terminal.type(`${load}; PS1='READ''Y>'\n`, (shown) => shown.includes("READY>"));
  return terminal;
}

/** What is to be seen of what was shown, without bells. */
const visible = (shown: string) => shown.replaceAll("\x07", "");
