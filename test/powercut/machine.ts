import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

// A virtual machine with the worker in it.

const PROJECT = join(import.meta.dir, "../..");
const LIMIT_SECONDS = 600;

/** One boot of the virtual machine on the disk of a directory. */
export class Machine {
  private readonly script;
  private readonly ending: Promise<unknown>;
  private output = "";
  private errors = "";

  /** The ledger is what the worker said in earlier boots; with "verify" it only looks, and ends. */
  constructor(directory: string, ledger: readonly string[], mode: "work" | "verify") {
    const ledgerPath = join(directory, "ledger");
    writeFileSync(ledgerPath, ledger.map((line) => `${line}\n`).join(""));
    const guest = ["scripts/guest", "--disk", join(directory, "disk"), "--timeout", String(LIMIT_SECONDS)];
    const worker = ["node_modules/.bin/bun", "test/powercut/worker.ts", "/scratch", ledgerPath, mode];
    this.script = Bun.spawn([...guest, ...worker], { cwd: PROJECT, stdio: ["ignore", "pipe", "pipe"] });
    this.ending = Promise.all([
      this.read(this.script.stdout, (text) => (this.output += text)),
      this.read(this.script.stderr, (text) => (this.errors += text)),
      this.script.exited,
    ]);
  }

  /** Waits until the worker said so many lines with this word. Throws with all that it said when it ends before. */
  async untilSaid(word: string, times = 1): Promise<void> {
    while (this.lines().filter((line) => line.includes(word)).length < times) {
      if (this.script.exitCode !== null) throw this.describeEnd();
      await Bun.sleep(20);
    }
  }

  /** Cuts the power: kills the process that is the machine. */
  async cut(): Promise<void> {
    const emulator = listDescendants(this.script.pid).find((pid) => readName(pid).startsWith("qemu-system"));
    if (emulator === undefined) throw this.describeEnd();
    process.kill(emulator, "SIGKILL");
    await this.ending;
    // What the worker came to by itself before the cut is a failure.
    if (![124, 125].includes(Number(this.script.exitCode))) throw this.describeEnd();
  }

  /** Waits until the worker has come to its end. Throws with all that it said when that is a failure. */
  async end(): Promise<void> {
    await this.ending;
    if (this.script.exitCode !== 0) throw this.describeEnd();
  }

  /** Ends it, whatever it is at; scripts/guest takes the machine along. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.script.kill("SIGTERM");
    await this.ending;
  }

  /** The whole lines that the worker said; one that the cut made short was never said. */
  lines(): string[] {
    return this.output.split("\n").slice(0, -1);
  }

  private async read(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
  }

  private describeEnd(): Error {
    return new Error(`the machine ended with ${this.script.exitCode}: ${this.errors}\n${this.output}`);
  }
}

function listDescendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  return children.map(Number).flatMap((child) => [child, ...listDescendants(child)]);
}

function readName(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
}
