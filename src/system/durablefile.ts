import { constants, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { calling, unlessErrno } from "./errno.ts";
import { closeFd, openDirectory } from "./files.ts";
import { type Steps, shellQuote } from "./steps.ts";

/** Gives a small file this content durably: after a power cut it has the old one or the new one. */
export function replaceFile(steps: Steps, path: string, text: string): Promise<void> {
  // One line, whatever the file has.
  const write = `printf '%s\\n' ${shellQuote(text.trim().split("\n"))} >${shellQuote([path])}`;
  return steps.take<void>({ text: write, kind: "call" }, () => writeReplacement(path, text), undefined);
}

/** The text of a small file; undefined when it is not there. */
export function findText(path: string): string | undefined {
  return unlessErrno(["ENOENT"], () => calling("read", path, () => readFileSync(path, "utf8")));
}

function writeReplacement(path: string, text: string): void {
  const next = `${path}.new`;
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  const fd = calling("open", next, () => openSync(next, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600));
  try {
    calling("write", next, () => writeSync(fd, text));
    calling("fsync", next, () => fsyncSync(fd));
  } finally {
    closeFd(fd);
  }
  calling("rename", next, () => renameSync(next, path));
  const directory = openDirectory(dirname(path));
  calling("fsync", path, () => fsyncSync(directory));
  closeFd(directory);
}
