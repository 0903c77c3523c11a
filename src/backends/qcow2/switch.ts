import { fstatSync } from "node:fs";
import { basePath, readChain } from "../../images/bases.ts";
import type { Location } from "../../location/location.ts";
import type { LockedVolume } from "../../location/volumes.ts";
import { findStatus } from "../../system/files.ts";
import type { Steps } from "../../system/steps.ts";
import { commandDaemon, fileNodeOf, findShownNode, splitNode } from "../../system/storagedaemon.ts";

/** The name of the node of the file with an inode. */
export function nodeNameOf(inode: number | bigint): string {
  return `image${inode}`;
}

/** Lets the daemon that writes an image write the overlay at `path` from now on, without a moment in which it does neither. */
export async function switchDaemon(
  steps: Steps,
  directory: string,
  path: string,
  inodes: { readonly image: number | bigint; readonly overlay: number | bigint },
): Promise<void> {
  const [node, overlay] = [nodeNameOf(inodes.image), nodeNameOf(inodes.overlay)];
  const shared = { "read-only": false, discard: "unmap" } as const;
  const file = { driver: "file", filename: path, ...shared } as const;
  const parts = splitNode({ driver: "qcow2", "node-name": overlay, ...shared, file, backing: null });
  try {
    await commandDaemon(steps, directory, [
      ...parts.map((part) => ({ execute: "blockdev-add", arguments: part })),
      { execute: "blockdev-snapshot", arguments: { node, overlay } },
    ]);
  } catch (thrown) {
    await removeNode(steps, directory, overlay);
    throw thrown;
  }
}

/**
 * Completes what a clone of a volume in use began that was killed: the volume's image is an overlay already, of which the daemon does
 * not know, so that it still writes the base. Nothing else has that base yet.
 */
export async function finishSwitch(
  steps: Steps,
  location: Location,
  directory: string,
  volume: Pick<LockedVolume, "path" | "fd">,
): Promise<void> {
  if (steps.planning) return;
  const { ino } = fstatSync(volume.fd);
  if ((await findShownNode(directory)) === nodeNameOf(ino)) return;
  const [, base] = readChain(location, volume.path, volume.fd);
  const image = base && findStatus(basePath(location, String(base.base)))?.ino;
  if (image === undefined) return;
  // It may have been added, and no more.
  await removeNode(steps, directory, nodeNameOf(ino));
  await switchDaemon(steps, directory, volume.path, { image, overlay: ino });
}

/** Removes what was added for nothing; a node that is in use or absent is refused. */
async function removeNode(steps: Steps, directory: string, node: string): Promise<void> {
  for (const name of [node, fileNodeOf(node)]) {
    const command = { execute: "blockdev-del", arguments: { "node-name": name } };
    await commandDaemon(steps, directory, [command]).catch(() => {});
  }
}
