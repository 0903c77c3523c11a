import { BTRFS_MAGIC } from "./btrfs.ts";
import { ioctl } from "./libc.ts";

const XFS_MAGIC = 0x58465342;

/** Whether files of the filesystem that holds the directory `fd` can share blocks: btrfs, and XFS made with reflink. */
export function canShareBlocks(fd: number, filesystemMagic: number): boolean {
  if (filesystemMagic === BTRFS_MAGIC) return true;
  return filesystemMagic === XFS_MAGIC && readXfsGeometry(fd).hasReflink;
}

/** The shape of a mounted XFS. */
export interface XfsGeometry {
  readonly blockBytes: number;
  /** How much of the space inodes may take. */
  readonly inodeMaxPercent: number;
  readonly hasReflink: boolean;
}

/** The shape of the XFS that holds an open file: XFS_IOC_FSGEOMETRY, linux/fs/xfs/libxfs/xfs_fs.h. */
export function readXfsGeometry(fd: number): XfsGeometry {
  const XFS_IOC_FSGEOMETRY = 0x8100587e;
  const FLAG_REFLINK = 1 << 20;
  const geometry = Buffer.alloc(256);
  ioctl(fd, XFS_IOC_FSGEOMETRY, geometry, "XFS geometry");
  return {
    blockBytes: geometry.readUInt32LE(0),
    inodeMaxPercent: geometry.readUInt32LE(28),
    hasReflink: (geometry.readUInt32LE(92) & FLAG_REFLINK) !== 0,
  };
}
