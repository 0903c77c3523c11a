import type { VolumeRecord } from "../location/record.ts";
import type { Mosaic } from "./mosaic.ts";
import type { VolumeDetails } from "./results.ts";

/**
 * One volume, by its name. It holds nothing open: each method finds the volume anew, so one that was dropped meanwhile is
 * NOT_FOUND. Objects come from `mosaic.openVolume` and `volume.clone`. The errors are those of the methods of Mosaic.
 * @example
 *   const web = await mosaic.openVolume("web");
 *   console.log(web.name, web.record.createdAt);
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

  /** Mounts it onto a directory. Throws as `mosaic.mountVolume`. @example await volume.mount("/srv/web", { readOnly: true }); */
  mount(mountPoint: string, options: { readOnly?: boolean } = {}): Promise<void> {
    return this.mosaic.mountVolume(this.name, mountPoint, options);
  }

  /** Unmounts it from a directory. Throws as `mosaic.unmountVolume`. @example await volume.unmount("/srv/web"); */
  unmount(mountPoint: string): Promise<void> {
    return this.mosaic.unmountVolume(this.name, mountPoint);
  }

  /** Makes its block device, or a socket; gives the path or URI. Throws as `mosaic.attachVolume`. @example const device = await volume.attach(); */
  attach(options: { readOnly?: boolean; export?: "nbd" } = {}): Promise<string> {
    return this.mosaic.attachVolume(this.name, options);
  }

  /** Removes its block device. Throws as `mosaic.detachVolume`. @example await volume.detach(); */
  detach(): Promise<void> {
    return this.mosaic.detachVolume(this.name);
  }

  /**
   * Makes a writable copy and opens it. Throws as `mosaic.cloneVolume`.
   * @example
   *   const copy = await volume.clone("web-1");
   *   await copy.mount("/srv/web");
   */
  async clone(name: string): Promise<Volume> {
    return new Volume(this.mosaic, await this.mosaic.cloneVolume(this.name, name));
  }

  /** Gives it another size. Throws as `mosaic.resizeVolume`. @example await volume.resize(parseSize("2G")); */
  resize(sizeBytes: number, options: { shrink?: boolean } = {}): Promise<VolumeRecord> {
    return this.mosaic.resizeVolume(this.name, sizeBytes, options);
  }

  /** All about it. Throws as `mosaic.statVolume`. @example console.log((await volume.stat()).exclusiveBytes); */
  stat(): Promise<VolumeDetails> {
    return this.mosaic.statVolume(this.name);
  }

  /** Destroys it and its data. Throws as `mosaic.dropVolume`. @example await volume.drop(); */
  drop(): Promise<void> {
    return this.mosaic.dropVolume(this.name);
  }
}
