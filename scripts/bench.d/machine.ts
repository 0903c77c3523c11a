import { availableParallelism, cpus, machine, release, totalmem } from "node:os";
import { runProgram } from "./measure.ts";

// How to ask for a version, which some tools print among other words.
const TOOLS: readonly (readonly string[])[] = [
  ["mkfs.ext4", "-V"],
  ["mkfs.xfs", "-V"],
  ["btrfs", "--version"],
  ["mount", "--version"],
  ["cp", "--version"],
  ["qemu-storage-daemon", "--version"],
];

/** The machine in a few lines of Markdown: what it is made of, and nothing that says whose it is. */
export function describeMachine(directory: string): string {
  const filesystem = runProgram({ argv: ["findmnt", "-nfo", "FSTYPE", "--target", directory] });
  const lines = [
    `CPU: ${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, ${machine()}`,
    `memory: ${(totalmem() / 1024 ** 3).toFixed(0)} GiB`,
    `kernel: Linux ${release()}`,
    `below the beds: ${filesystem.stdout.trim()}`,
    `Bun: ${Bun.version}`,
    `tools: ${TOOLS.map(findVersion).join(", ")}`,
  ];
  return lines.map((line) => `- ${line}\n`).join("");
}

function findVersion(argv: readonly string[]): string {
  const { stdout, stderr } = runProgram({ argv });
  const version = /\d+\.\d[\w.-]*/.exec(stdout + stderr)?.[0] ?? "unknown";
  return `${argv[0]} ${version}`;
}
