import { type Ground, moctlRun } from "./ground.ts";
import { type Run, runProgram } from "./measure.ts";
import type { Section } from "./table.ts";

// A child begins with the peak of whoever started it, so a small program has to: perl, which each Debian has.
const GETRUSAGE = process.arch === "arm64" ? 165 : 98;
const PEAK_OF_CHILD = `
  system(@ARGV) == 0 or exit 1;
  my ($number, $children, $usage) = (${GETRUSAGE}, -1, "\\0" x 144);
  syscall($number, $children, $usage);
  print STDERR unpack("x32 q", $usage);
`;

/** The most memory that each command has at once, or a tool that it starts. */
export function measureMemory(ground: Ground): Section {
  const empty = { argv: [ground.buildEmptyProgram()] };
  const bed = ground.openBed("loop");
  const many = ground.openBed("plain", 10_000);
  const rows: [string, Run][] = [
    ["an empty program", empty],
    ["`--version`", moctlRun(bed, "--version")],
    ["`have`", moctlRun(many, "have", "v00001")],
    ["`list`, 10,000 volumes", moctlRun(many, "list")],
    ["`create`", moctlRun(bed, "create", "fs", "memory", "512M")],
    ["`clone`", moctlRun(bed, "clone", "memory", "memory-2")],
    ["`mount`", moctlRun(bed, "mount", "memory", "mnt")],
    ["`umount`", moctlRun(bed, "umount", "memory", "mnt")],
    ["`drop`", moctlRun(bed, "drop", "memory")],
  ];
  return {
    title: "Memory at its most",
    header: ["command", "resident", "aim"],
    rows: rows.map(([what, run]) => [what, `${measurePeak(run)} MB`, "below 60 MB"]),
  };
}

function measurePeak(run: Run): string {
  const { stderr } = runProgram({ ...run, argv: ["perl", "-e", PEAK_OF_CHILD, ...run.argv] });
  const kilobytes = Number(stderr.trim().split("\n").at(-1));
  return (kilobytes / 1024).toFixed(0);
}
