import { BTRFS_MAGIC } from "./btrfs.ts";
import { ioctl } from "./libc.ts";

const XFS_MAGIC = 0x58465342;

/** Whether files of the filesystem that holds the directory `fd` can share blocks: btrfs, and XFS made with reflink. */
export function canShareBlocks(fd: number, filesystemMagic: number): boolean {
  if (filesystemMagic === BTRFS_MAGIC) return true;
  return filesystemMagic === XFS_MAGIC && hasXfsReflink(fd);
}

/** XFS_IOC_FSGEOMETRY, its flags and their bit for reflink: linux/fs/xfs/libxfs/xfs_fs.h. */
function hasXfsReflink(fd: number): boolean {
  const XFS_IOC_FSGEOMETRY = 0x8100587e;
  const FLAGS_OFFSET = 92;
  const FLAG_REFLINK = 1 << 20;
  const geometry = Buffer.alloc(256);
  ioctl(fd, XFS_IOC_FSGEOMETRY, geometry, "XFS geometry");
  return (geometry.readUInt32LE(FLAGS_OFFSET) & FLAG_REFLINK) !== 0;
}
