import { readOwnMounts } from "../../src/system/mounts.ts";
import { loopImagesBelow } from "../support/snapshot.ts";
import { runProgram } from "./program.ts";

/** All that a refused command must leave alone. */
export interface Picture {
  /** Each file's kind, mode, owner, links, size, time of change and inode. */
  readonly files: readonly string[];
  readonly attributes: readonly string[];
  /** Images below the directory that have a loop device. */
  readonly devices: readonly string[];
  /** What is mounted below the directory. */
  readonly mounts: readonly string[];
}

/**
 * A picture of a directory, without the image of a bed, which its filesystem writes at any time. Without `times` it also
 * leaves out when files were changed: where a command began and undid its work, or where a mounted image is among them.
 */
export function takePicture(directory: string, times = true): Picture {
  const format = `%P|%y|%m|%U:%G|%n|%s|${times ? "%T@" : ""}|%i|%l\\0`;
  const attributes = ["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", directory];
  return {
    files: list(["find", directory, "-path", `${directory}/image`, "-prune", "-o", "-printf", format]),
    attributes: list(["getfattr", ...attributes], "\n\n"),
    devices: loopImagesBelow(directory).sort(),
    mounts: readOwnMounts()
      .filter((mount) => mount.mountPoint.startsWith(`${directory}/`))
      .map((mount) => `${mount.id} ${mount.root} ${mount.mountPoint} ${mount.readOnly}`),
  };
}

function list(argv: readonly string[], separator = "\0"): string[] {
  const { exit, stdout, stderr } = runProgram(argv, { env: { LC_ALL: "C" } });
  if (exit !== 0) throw new Error(`${argv.join(" ")} ended with ${exit}: ${stderr}`);
  return stdout
    .split(separator)
    .filter((entry) => entry !== "")
    .sort();
}
