import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Conversation, formatCall } from "./conversation.ts";
import { type Bed, type Ground, MOCTL, scriptRun } from "./ground.ts";
import { measureInTurn, quantile, ratiosOf, runProgram, timeMs } from "./measure.ts";
import { formatRatios, type Section } from "./table.ts";

const ROUNDS = 25;
const CHANGE_ROUNDS = 7;
const TRIPS = 400;
const PIPELINED = 20_000;
/** The first thousand are code that is loaded and compiled. */
const GROWTH_AT = [1, 1_000, 10_000, 100_000];
const PAIRS = 16;
const MOST_IN_FLIGHT = 8;

const ECHO = `#include <unistd.h>
int main(void) {
  static char bytes[65536];
  for (ssize_t count; (count = read(0, bytes, sizeof bytes)) > 0;)
    for (ssize_t done = 0; done < count;) done += write(1, bytes + done, count - done);
  return 0;
}
`;
const PING = formatCall(1, "server.ping");
const HAVE = formatCall(1, "volume.have", { volume: "v00001" });
const SCRIPTS = {
  calls: `for N in $(seq ${PAIRS}); do
  moctl ./bed.mos create fs $N
  moctl ./bed.mos drop $N
done`,
  tools: `for N in $(seq ${PAIRS}); do
  btrfs -q subvolume create location/$N
  btrfs filesystem sync location
  btrfs -q subvolume delete --commit-after location/$N
done`,
};

/** What a call to the server takes, beside an echo over the same pipes and beside a process for each. */
export async function measureRpc(ground: Ground): Promise<Section[]> {
  const bed = ground.openBed("btrfs", 10);
  const server = startServer(bed, "server");
  const echo = startEcho(bed);
  const sections = [measureTrips(server, echo), await measureGrowth(bed), measureChanges(bed, server)];
  await Promise.all([server.end(), echo?.end()]);
  return sections;
}

function startServer({ directory }: Bed, name: string): Conversation {
  return new Conversation(directory, name, [MOCTL, "./bed.mos", "rpc"]);
}

/** A program in C that gives back what it gets; undefined where there is no compiler. */
function startEcho({ directory }: Bed): Conversation | undefined {
  if (!Bun.which("cc")) return undefined;
  const program = join(directory, "echo");
  writeFileSync(`${program}.c`, ECHO);
  runProgram({ argv: ["cc", "-O2", "-o", program, `${program}.c`] });
  return new Conversation(directory, "echo", [program]);
}

function measureTrips(server: Conversation, echo: Conversation | undefined): Section {
  const measureRow = (
    what: string,
    aim: string,
    format: (ms: number) => string,
    run: (other: Conversation) => number,
  ) => {
    const { ours, base } = measureInTurn(ROUNDS, {
      ours: () => run(server),
      base: () => (echo ? run(echo) : Number.NaN),
    });
    const [call, beside] = [ours, base].map((samples) => format(quantile(samples, 0.5)));
    return echo
      ? [what, call ?? "", beside ?? "", formatRatios(ratiosOf(ours, base)), aim]
      : [what, call ?? "", "no compiler", "", aim];
  };
  const inUs = (ms: number) => `${(ms * 1000).toFixed(1)} µs`;
  const inASecond = (ms: number) => perSecond(PIPELINED, ms);
  return {
    title: "Calls of the server, beside an echo in C over the same pipes",
    header: ["call", "moctl", "echo", "ratio of time", "aim"],
    rows: [
      measureRow("`server.ping`", "below 3", inUs, (other) => medianTripMs(other, PING)),
      measureRow("`volume.have`", "below 200 µs", inUs, (other) => medianTripMs(other, HAVE)),
      measureRow("`server.ping`, pipelined, per second", "at least 100,000", inASecond, (other) =>
        timeMs(() => other.flood(PING, PIPELINED)),
      ),
    ],
  };
}

function medianTripMs(other: Conversation, line: Buffer): number {
  return quantile(
    Array.from({ length: TRIPS }, () => timeMs(() => other.ask(line))),
    0.5,
  );
}

function perSecond(count: number, ms: number): string {
  const number = (count / ms) * 1000;
  return number < 100 ? number.toFixed(1) : Math.round(number).toLocaleString("en");
}

async function measureGrowth(bed: Bed): Promise<Section> {
  const inMb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  const measureRow = async (name: string, line: Buffer) => {
    const server = startServer(bed, name);
    const found: number[] = [];
    let asked = 0;
    for (const count of GROWTH_AT) {
      for (; asked < count; asked++) server.ask(line);
      found.push(server.residentBytes());
    }
    await server.end();
    const growth = (found.at(-1) ?? 0) - (found[1] ?? 0);
    return [`\`${name}\``, ...found.map(inMb), inMb(growth), "below 10 MB"];
  };
  const counts = GROWTH_AT.map((count) => `after ${count.toLocaleString("en")}`);
  return {
    title: "Memory of the server after so many calls",
    header: ["call", ...counts, "growth after 1,000", "aim"],
    rows: [await measureRow("server.ping", PING), await measureRow("volume.have", HAVE)],
  };
}

function measureChanges(bed: Bed, server: Conversation): Section {
  const runScript = (script: string) => timeMs(() => runProgram(scriptRun(bed, script)));
  const times = measureInTurn(CHANGE_ROUNDS, {
    tools: () => runScript(SCRIPTS.tools),
    one: () => timeMs(() => makeAndDrop(server, 1)),
    eight: () => timeMs(() => makeAndDrop(server, MOST_IN_FLIGHT)),
    calls: () => runScript(SCRIPTS.calls),
  });
  const formatRow = (what: string, ms: readonly number[], aim = "") => [
    what,
    perSecond(PAIRS, quantile(ms, 0.5)),
    formatRatios(ratiosOf(times.tools, ms)),
    aim,
  ];
  return {
    title: "A create and a drop on btrfs, durable, per second",
    header: ["by", "pairs", "ratio to the tools", "aim"],
    rows: [
      formatRow("the server, one call at a time", times.one, "at least 1"),
      formatRow(`the server, ${MOST_IN_FLIGHT} at a time`, times.eight, "at least 1"),
      formatRow("a process for each call", times.calls),
      formatRow("the bare tools, in a shell", times.tools),
    ],
    scripts: `# a process for each call\n${SCRIPTS.calls}\n\n# tools\n${SCRIPTS.tools}`,
  };
}

/** Makes volumes and drops each, so many of them at a time. */
function makeAndDrop(server: Conversation, atATime: number): void {
  let [begun, ended] = [0, 0];
  const begin = () => {
    if (begun < PAIRS) server.send(formatCall(++begun, "volume.create", { volume: `n${begun}`, kind: "fs" }));
  };
  for (let count = 0; count < atATime; count++) begin();
  while (ended < PAIRS)
    for (const line of server.receive().toString().trimEnd().split("\n")) {
      const { id, result } = JSON.parse(line) as { id: number; result?: { created?: boolean } };
      if (!result) throw new Error(`a call failed: ${line}`);
      if (result.created) server.send(formatCall(id, "volume.drop", { volume: `n${id}` }));
      else {
        ended++;
        begin();
      }
    }
}
