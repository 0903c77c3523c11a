import { closeFd, openDirectory } from "../../src/system/files.ts";

/** Runs `action` with an open directory. */
export function withDirectory<T>(path: string, action: (fd: number) => T): T {
  const fd = openDirectory(path);
  try {
    return action(fd);
  } finally {
    closeFd(fd);
  }
}
