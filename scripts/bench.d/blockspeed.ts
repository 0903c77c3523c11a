import { ptr } from "bun:ffi";
import { closeSync, constants, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import { runProgram, timeMs } from "./measure.ts";

const ALIGNMENT = 4096;

/** What is done to a device: blocks of a size, one after another or here and there, so many; each waits for the one before. */
export interface Load {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly isRandom: boolean;
  readonly isWriting: boolean;
}

/** A device, and the files below it whose cached content shall not answer a read. */
export interface Target {
  readonly device: string;
  readonly files: readonly string[];
}

/** How long a load takes, in ms: with direct I/O, so that each block reaches the driver, and what is written is synced at the end. */
export function timeLoad({ device, files }: Target, load: Load, sizeBytes: number): number {
  if (!load.isWriting) for (const file of files) dropCache(file);
  const fd = openSync(device, (load.isWriting ? constants.O_RDWR : constants.O_RDONLY) | constants.O_DIRECT);
  try {
    const block = alignedBuffer(load.blockBytes);
    const offsets = listOffsets(load, sizeBytes);
    return timeMs(() => {
      for (const offset of offsets)
        if (load.isWriting) writeSync(fd, block, 0, block.length, offset);
        else readSync(fd, block, 0, block.length, offset);
      if (load.isWriting) fsyncSync(fd);
    });
  } finally {
    closeSync(fd);
  }
}

/** The same for each run; random ones by a generator of Lehmer's. */
function listOffsets({ blocks, blockBytes, isRandom }: Load, sizeBytes: number): number[] {
  const MODULUS = 2 ** 31 - 1;
  const places = sizeBytes / blockBytes;
  let state = 1;
  return Array.from({ length: blocks }, (_, number) => {
    state = (state * 48_271) % MODULUS;
    return (isRandom ? state % places : number % places) * blockBytes;
  });
}

function alignedBuffer(bytes: number): Buffer {
  const room = Buffer.alloc(bytes + ALIGNMENT, 0x6d);
  const start = (ALIGNMENT - (ptr(room) % ALIGNMENT)) % ALIGNMENT;
  return room.subarray(start, start + bytes);
}

/** posix_fadvise(2) for all of a file, which dd(1) says without a copy. */
function dropCache(file: string): void {
  runProgram({ argv: ["dd", `if=${file}`, "iflag=nocache", "count=0", "status=none"] });
}
