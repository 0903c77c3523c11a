import { type HeldLock, whileFrozen } from "../filesystems/freeze.ts";
import { withWritableMount } from "../filesystems/writablemount.ts";
import { syncPath } from "../system/files.ts";
import type { LoopDevice } from "../system/loop.ts";
import type { Steps } from "../system/steps.ts";

/** Runs an action while what was written to a device, if there is one, is in its image, and a filesystem that is mounted writable writes nothing. */
export async function whileQuiet(
  steps: Steps,
  filesystem: string | null,
  device: LoopDevice | undefined,
  lock: HeldLock,
  action: () => Promise<void>,
): Promise<void> {
  if (!device) return action();
  await syncPath(steps, device.path);
  const isMounted = await withWritableMount(steps, filesystem, device, (mountFd) =>
    whileFrozen(steps, mountFd, lock, action),
  );
  if (!isMounted) await action();
}
