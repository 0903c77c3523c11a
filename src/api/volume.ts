import type { VolumeRecord } from "../location/record.ts";
import type { Mosaic } from "./mosaic.ts";
import type { VolumeDetails } from "./results.ts";

/**
 * One volume of a mosaic, by its name. It holds nothing open: each method finds the volume anew, so a volume that was
 * dropped meanwhile is NOT_FOUND.
 * @example
 *   const web = await mosaic.openVolume("web");
 *   await web.mount("/srv/web", { readOnly: true });
 */
export class Volume {
  constructor(
    private readonly mosaic: Mosaic,
    /** What was recorded of the volume when it was opened. */
    readonly record: VolumeRecord,
  ) {}

  /** The name as the user said it. */
  get name(): string {
    return this.record.name;
  }

  /** Mounts it onto a directory. Throws as `Mosaic.mountVolume`. @example await web.mount("/srv/web") */
  mount(mountPoint: string, options: { readOnly?: boolean } = {}): Promise<void> {
    return this.mosaic.mountVolume(this.name, mountPoint, options);
  }

  /** Unmounts it from a directory. Throws as `Mosaic.unmountVolume`. @example await web.unmount("/srv/web") */
  unmount(mountPoint: string): Promise<void> {
    return this.mosaic.unmountVolume(this.name, mountPoint);
  }

  /** Makes its block device; gives the path. Throws as `Mosaic.attachVolume`. @example const device = await disk.attach() */
  attach(): Promise<string> {
    return this.mosaic.attachVolume(this.name);
  }

  /** Removes its block device. Throws as `Mosaic.detachVolume`. @example await disk.detach() */
  detach(): Promise<void> {
    return this.mosaic.detachVolume(this.name);
  }

  /** Makes a writable copy and opens it. Throws as `Mosaic.cloneVolume`. @example const copy = await web.clone("web-2") */
  async clone(name: string): Promise<Volume> {
    return new Volume(this.mosaic, await this.mosaic.cloneVolume(this.name, name));
  }

  /** Gives it another size. Throws as `Mosaic.resizeVolume`. @example await web.resize(parseSize("2G")) */
  resize(sizeBytes: number, options: { shrink?: boolean } = {}): Promise<VolumeRecord> {
    return this.mosaic.resizeVolume(this.name, sizeBytes, options);
  }

  /** All about it. Throws as `Mosaic.statVolume`. @example (await web.stat()).exclusiveBytes */
  stat(): Promise<VolumeDetails> {
    return this.mosaic.statVolume(this.name);
  }

  /** Destroys it and its data. Throws as `Mosaic.dropVolume`. @example await web.drop() */
  drop(): Promise<void> {
    return this.mosaic.dropVolume(this.name);
  }
}
