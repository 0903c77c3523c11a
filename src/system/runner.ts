import { existsSync, statSync } from "node:fs";
import { type ErrorCode, MosaicError } from "../base/errors.ts";
import { type Steps, shellQuote } from "./steps.ts";

// The only file that starts programs. Why it does it so: no shell, a fixed environment and directory, own process
// group, bounded output, a deadline with escalation; a child that holds our lock's descriptor keeps the lock.

const DIRECTORIES = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const ENVIRONMENT = {
  PATH: DIRECTORIES.join(":"),
  LC_ALL: "C",
  LANG: "C",
  TZ: "UTC",
  // Names of mapped devices are those of the kernel.
  DM_DEFAULT_NAME_MANGLING_MODE: "none",
};
/** Tells libdevmapper to make the nodes itself: where no udev runs it would wait for it in vain. */
const WITHOUT_UDEV = { ...ENVIRONMENT, DM_DISABLE_UDEV: "1" };
const OUTPUT_MAX_BYTES = 16 * 1024 * 1024;
const DEADLINE_MS = 600_000;
const GRACE_MS = 5_000;
const DRAIN_MS = 1_000;

/** The Debian packages, the tools that each brings, and how one of them tells the version. A tool that is not here is never run. */
const PACKAGES = {
  "btrfs-progs": { tools: ["btrfs", "btrfstune", "mkfs.btrfs"], version: ["btrfs", "--version"] },
  coreutils: { tools: ["cp", "du", "true"], version: ["du", "--version"] },
  e2fsprogs: {
    tools: ["dumpe2fs", "e2fsck", "mkfs.ext4", "resize2fs", "tune2fs"],
    version: ["e2fsck", "-V"],
  },
  dmsetup: { tools: ["dmsetup"], version: ["dmsetup", "version"] },
  findutils: { tools: ["find"], version: ["find", "--version"] },
  "thin-provisioning-tools": { tools: ["thin_check", "thin_ls"], version: ["thin_check", "-V"] },
  ploop: { tools: ["ploop"], version: ["ploop", "-V"] },
  "qemu-system-common": { tools: ["qemu-storage-daemon"], version: ["qemu-storage-daemon", "--version"] },
  "qemu-utils": { tools: ["qemu-img"], version: ["qemu-img", "--version"] },
  "util-linux": { tools: ["blkid", "flock", "fsfreeze"], version: ["flock", "--version"] },
  xfsprogs: { tools: ["mkfs.xfs", "xfs_admin", "xfs_db", "xfs_logprint"], version: ["mkfs.xfs", "-V"] },
} as const;

/** The name of a package of tools. */
export type PackageName = keyof typeof PACKAGES;

/** A kernel tool that mosaic may run. */
export type Tool = (typeof PACKAGES)[PackageName]["tools"][number];

/** The Debian package that brings a tool. */
export function packageOf(tool: Tool): PackageName {
  const names = Object.keys(PACKAGES) as PackageName[];
  return names.find((name) => (PACKAGES[name].tools as readonly string[]).includes(tool)) as PackageName;
}

/** The version that the tools of a package tell of themselves. Throws as `queryTool`. */
export async function queryVersion(steps: Steps, name: PackageName): Promise<string> {
  const [tool, ...args] = PACKAGES[name].version;
  const { stdout, stderr } = await queryTool(steps, tool, args);
  return /\d+(\.\d+)+/.exec(stdout || stderr)?.[0] ?? "unknown";
}

/** How a tool is run. */
export interface RunOptions {
  /** Descriptors that the child gets as numbers 3 and up; a lock on one lasts as long as the child. */
  readonly fds?: readonly number[];
  /** Exit codes that mean success; only 0 when absent. */
  readonly successCodes?: readonly number[];
  /** Milliseconds until the tool is ended; ten minutes when absent. */
  readonly deadlineMs?: number;
  /** What the tool's own words mean, where it is not TOOL_FAILED. */
  readonly translate?: (stderr: string) => ErrorCode | undefined;
}

/** What a tool that ended said. */
export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

const NOTHING_SAID: RunResult = { exitCode: 0, stdout: "", stderr: "" };

/** Runs a tool that changes something, as a step. Throws UNAVAILABLE when it is missing, TOOL_FAILED, NO_SPACE. */
export async function runTool(
  steps: Steps,
  tool: Tool,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const argv = [tool, ...args];
  const step = { text: shellQuote(argv), kind: "command" } as const;
  return (await steps.take(step, () => execute(tool, args, options), NOTHING_SAID)).stdout;
}

/** Runs a tool that only reads, also in a plan. Throws as `runTool`. */
export async function queryTool(
  steps: Steps,
  tool: Tool,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const step = { text: shellQuote([tool, ...args]), kind: "command", reads: true } as const;
  return steps.take(step, () => execute(tool, args, options), NOTHING_SAID);
}

/** Starts a tool that goes on by itself, also when this process is killed; `end` ends it with all its children. */
export async function startTool(
  steps: Steps,
  tool: Tool,
  args: readonly string[],
  fds: readonly number[],
): Promise<{ end(): Promise<void> }> {
  const start = () => {
    const child = spawn(tool, args, fds);
    child.unref();
    return {
      async end() {
        signalGroup(child.pid, "SIGKILL");
        await endsWithin(child.exited, GRACE_MS);
      },
    };
  };
  return steps.take({ text: `${shellQuote([tool, ...args])} &`, kind: "command" }, start, { async end() {} });
}

/** The absolute path of a tool. Throws UNAVAILABLE with the package that brings it. */
export function findTool(tool: Tool): string {
  const path = DIRECTORIES.map((directory) => `${directory}/${tool}`).find(isTrustedProgram);
  if (path) return path;
  const packageName = packageOf(tool);
  const message = `the program ${tool} is missing: install the package ${packageName}`;
  throw new MosaicError("UNAVAILABLE", message, { tool, package: packageName, searched: DIRECTORIES });
}

function isTrustedProgram(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat?.isFile() === true && stat.uid === 0 && (stat.mode & 0o022) === 0;
}

function spawn(tool: Tool, args: readonly string[], fds: readonly number[]) {
  const path = findTool(tool);
  try {
    return Bun.spawn([path, ...args], {
      env: existsSync("/run/udev/control") ? ENVIRONMENT : WITHOUT_UDEV,
      cwd: "/",
      detached: true,
      stdio: ["ignore", "pipe", "pipe", ...fds],
    });
  } catch (thrown) {
    const argv = [path, ...args];
    throw new MosaicError(
      "TOOL_FAILED",
      `cannot start ${tool}: ${(thrown as Error).message}`,
      { argv },
      thrown,
    );
  }
}

async function execute(tool: Tool, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const child = spawn(tool, args, options.fds ?? []);
  const stdout = readBounded(child.stdout as ReadableStream<Uint8Array>);
  const stderr = readBounded(child.stderr as ReadableStream<Uint8Array>);
  const timedOut = await waitUntilDeadline(child, options.deadlineMs ?? DEADLINE_MS);
  // A grandchild may keep the pipes open after the tool's end; what was read until then has to do.
  await endsWithin(Promise.all([stdout.text, stderr.text]), DRAIN_MS);
  const outcome = {
    argv: [tool, ...args],
    pid: child.pid,
    exitCode: child.exitCode,
    signal: child.signalCode,
  };
  const words = stderr.current().trim();
  if (timedOut) throw timeoutError(tool, outcome, timedOut);
  const exitCode = child.exitCode ?? -1;
  if ((options.successCodes ?? [0]).includes(exitCode))
    return { exitCode, stdout: stdout.current(), stderr: words };
  throw toolError(tool, outcome, words || stdout.current().trim(), options);
}

/** Undefined when the child ended in time, else whether it could be ended. */
async function waitUntilDeadline(
  child: Bun.Subprocess,
  deadlineMs: number,
): Promise<"ended" | "stuck" | undefined> {
  if (await endsWithin(child.exited, deadlineMs)) return undefined;
  signalGroup(child.pid, "SIGTERM");
  await endsWithin(child.exited, GRACE_MS);
  // Also where the tool itself has ended: its children may ignore SIGTERM.
  signalGroup(child.pid, "SIGKILL");
  return (await endsWithin(waitForGroupEnd(child), GRACE_MS)) ? "ended" : "stuck";
}

async function waitForGroupEnd(child: Bun.Subprocess): Promise<void> {
  await child.exited;
  const deadline = performance.now() + GRACE_MS;
  while (isGroupAlive(child.pid) && performance.now() < deadline) await Bun.sleep(5);
}

function isGroupAlive(pid: number): boolean {
  try {
    return process.kill(-pid, 0);
  } catch {
    return false;
  }
}

async function endsWithin(end: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: Timer | undefined;
  const limit = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([end.then(() => true), limit]);
  } finally {
    clearTimeout(timer);
  }
}

function signalGroup(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone, which is what the signal was for.
  }
}

/** Reads a stream to its end, keeping at most OUTPUT_MAX_BYTES; `current` is what has come so far. */
function readBounded(stream: ReadableStream<Uint8Array>): { text: Promise<void>; current(): string } {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const text = (async () => {
    for await (const chunk of stream) {
      if (bytes < OUTPUT_MAX_BYTES) chunks.push(chunk.subarray(0, OUTPUT_MAX_BYTES - bytes));
      bytes += chunk.length;
    }
  })();
  return { text, current: () => Buffer.concat(chunks).toString() };
}

interface Outcome {
  readonly argv: readonly string[];
  readonly pid: number;
  readonly exitCode: number | null;
  readonly signal: string | number | null;
}

function timeoutError(tool: Tool, outcome: Outcome, state: "ended" | "stuck"): MosaicError {
  const end =
    state === "ended" ? "it was ended" : `process ${outcome.pid} cannot be killed (it waits for a device)`;
  return new MosaicError("TOOL_FAILED", `${tool} did not end in time: ${end}`, {
    ...outcome,
    timedOut: true,
  });
}

function toolError(tool: Tool, outcome: Outcome, words: string, options: RunOptions): MosaicError {
  const code = options.translate?.(words) ?? translateCommonWords(words) ?? "TOOL_FAILED";
  const how = outcome.signal ? `was ended by ${outcome.signal}` : `failed with exit code ${outcome.exitCode}`;
  const lastLines = words.split("\n").slice(-5).join("; ").slice(-600);
  return new MosaicError(code, `${tool} ${how}${lastLines ? `: ${lastLines}` : ""}`, {
    ...outcome,
    stderr: lastLines,
  });
}

function translateCommonWords(words: string): ErrorCode | undefined {
  if (/No space left on device|Disk quota exceeded/.test(words)) return "NO_SPACE";
  if (/Permission denied|Operation not permitted/.test(words)) return "PERMISSION_DENIED";
  return undefined;
}
