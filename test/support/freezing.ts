import { run } from "./beds.ts";

// Filesystems that a test freezes, to be thawed also when it fails: nothing else can be done with a frozen one.

const frozen: string[] = [];

/** Freezes a filesystem at its mount point. */
export function freeze(path: string): void {
  frozen.push(path);
  run("fsfreeze", "--freeze", path);
}

/** Thaws in the end what another process freezes at this path. */
export function thawLater(path: string): void {
  frozen.push(path);
}

/** Thaws all that is still frozen. */
export function thawAll(): void {
  for (const path of frozen.splice(0)) Bun.spawnSync(["fsfreeze", "--unfreeze", path], { stderr: "ignore" });
}
