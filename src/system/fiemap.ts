import { hasErrno } from "./errno.ts";
import { ioctl } from "./libc.ts";

const FS_IOC_FIEMAP = 0xc020660b;
const HEADER_BYTES = 32;
const EXTENT_BYTES = 56;
const EXTENTS = 512;
const FLAG_SYNC = 1;
const EXTENT_LAST = 0x1;
const EXTENT_SHARED = 0x2000;

/** How many bytes of an open file lie in extents that other files share: the kernel's Documentation/filesystems/fiemap.rst. */
export async function measureSharedBytes(fd: number, path: string): Promise<number> {
  let sharedBytes = 0;
  let start = 0n;
  for (;;) {
    const extents = readExtents(fd, path, start);
    sharedBytes += extents
      .filter(({ isShared }) => isShared)
      .reduce((sum, { bytes }) => sum + Number(bytes), 0);
    const last = extents.at(-1);
    if (!last || last.isLast) return sharedBytes;
    start = last.offset + last.bytes;
    await Bun.sleep(0);
  }
}

interface Extent {
  readonly offset: bigint;
  readonly bytes: bigint;
  readonly isShared: boolean;
  readonly isLast: boolean;
}

/** None on a filesystem that has no such map; there files share nothing. */
function readExtents(fd: number, path: string, start: bigint): Extent[] {
  const map = Buffer.alloc(HEADER_BYTES + EXTENTS * EXTENT_BYTES);
  map.writeBigUInt64LE(start, 0);
  map.writeBigUInt64LE(0xffff_ffff_ffff_ffffn - start, 8);
  map.writeUInt32LE(FLAG_SYNC, 16);
  map.writeUInt32LE(EXTENTS, 24);
  try {
    ioctl(fd, FS_IOC_FIEMAP, map, path);
  } catch (thrown) {
    if (hasErrno(thrown, "EOPNOTSUPP", "ENOTSUP", "ENOTTY")) return [];
    throw thrown;
  }
  return Array.from({ length: map.readUInt32LE(20) }, (_, index) => {
    const at = HEADER_BYTES + index * EXTENT_BYTES;
    const flags = map.readUInt32LE(at + 40);
    return {
      offset: map.readBigUInt64LE(at),
      bytes: map.readBigUInt64LE(at + 16),
      isShared: (flags & EXTENT_SHARED) !== 0,
      isLast: (flags & EXTENT_LAST) !== 0,
    };
  });
}
