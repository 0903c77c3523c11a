import type { Backend } from "../backends/backend.ts";
import { MosaicError, quote } from "../base/errors.ts";
import { parseVolumeName, type VolumeName } from "../base/names.ts";
import { formatSize } from "../base/size.ts";
import type { Kind, VolumeRecord } from "../location/record.ts";
import { requireVolume, type VolumeAddress } from "../location/volumes.ts";
import { type Steps, shellQuote } from "../system/steps.ts";
import { checkMosaic } from "./checking.ts";
import type { Config } from "./config.ts";
import { appendEvent, type EventType } from "./events.ts";
import { describeHost } from "./host.ts";
import { describeLimits, listFeatures, requireKind, requirePossible, requireSize } from "./limits.ts";
import { mountMetadata, mountVolume } from "./mounting.ts";
import { resolveTarget } from "./mountpoint.ts";
import {
  type AdoptReport,
  type CheckReport,
  describeVolume,
  type Existence,
  type Feature,
  type HostInfo,
  type MosaicInfo,
  type Notify,
  type VolumeDetails,
  type VolumeInfo,
} from "./results.ts";
import { parseSavedList } from "./savedlist.ts";
import { unmountMetadata, unmountVolume } from "./unmounting.ts";
import { Volume } from "./volume.ts";

/**
 * One config's storage: one metadata filesystem and its volumes. It keeps no state beside the open location, so any number of
 * processes and of Mosaic objects may work on the same one; they meet in locks on the storage. Sizes are bytes, names are
 * checked. Objects are made by `openMosaic` only.
 *
 * Every method throws a `MosaicError` and nothing else; when it throws, the storage is as it was.
 *
 * @example
 *   await using mosaic = await openMosaic("vm");
 *   await mosaic.createVolume("web", { kind: "fs", sizeBytes: 512 * 1024 ** 2 });
 *   await mosaic.mountVolume("web", "/srv/web");
 */
export class Mosaic implements AsyncDisposable {
  constructor(
    private readonly config: Config,
    private readonly backend: Backend,
    private readonly steps: Steps,
    private readonly notify: Notify,
  ) {}

  /** The mosaic's own name: its config's file name without the ending. @example console.log(mosaic.name); */
  get name(): string {
    return this.config.mosaicName;
  }

  /**
   * A name of its storage for what is kept under /run: the same for every process until the next reboot.
   * @example console.log(mosaic.identity);
   */
  get identity(): string {
    return this.backend.identity;
  }

  /**
   * What the mosaic is and can do, and the space of its location.
   * @example if (mosaic.info().features.includes("clone")) console.log("volumes can be cloned");
   */
  info(): MosaicInfo {
    const { mosaicName: name, backend: type, location, file: config } = this.config;
    const limits = describeLimits(this.backend);
    return {
      name,
      type,
      location,
      config,
      features: listFeatures(this.backend),
      limits,
      space: this.backend.space(),
      pool: this.backend.pool?.() ?? null,
    };
  }

  /**
   * What of the kernel and the tools the mosaic uses, with their versions.
   * @example console.log((await mosaic.host()).kernel.release);
   */
  host(): Promise<HostInfo> {
    return describeHost(this.steps, this.config);
  }

  /**
   * Looks for what is wrong: with the host, with left-overs of killed runs, with records, with devices. Changes nothing, or
   * with `repair` mends what can be mended without a loss. Throws PERMISSION_DENIED.
   * @example
   *   const { problems, findings } = await mosaic.check();
   *   for (const { subject, message } of findings) console.log(problems, subject, message);
   */
  check(options: { repair?: boolean } = {}): Promise<CheckReport> {
    return checkMosaic(this.config, this.backend, options.repair ?? false);
  }

  /**
   * All volumes with their use at this moment, in the order of their stored names within each directory. Throws
   * PERMISSION_DENIED.
   * @example
   *   for (const { name, sizeBytes, mountedAt } of mosaic.listVolumes())
   *     console.log(name, sizeBytes, mountedAt.join(" "));
   */
  listVolumes(): VolumeInfo[] {
    const usageOf = this.backend.survey();
    const records = [...this.backend.list()];
    const names = new Map(records.map((record) => [record.id, record.name]));
    return records.map((record) => describeVolume(record, usageOf(record), names));
  }

  /**
   * Whether there is a volume of this name, and what is in its place when there is none. Throws INVALID_ARGUMENT, DAMAGED.
   * @example
   *   const { exists, foreign } = mosaic.haveVolume("web");
   *   if (!exists && foreign) console.log(foreign.why, foreign.adopt);
   */
  haveVolume(name: string): Existence {
    const address = this.addressOf(name);
    const found = this.backend.find(address);
    const exists = found.state === "volume" && found.record.name === address.name;
    const foreign =
      found.state === "foreign"
        ? { why: found.why, adopt: found.isAdoptable ? this.adoptCommand(address.name) : null }
        : null;
    return { name, exists, foreign };
  }

  /**
   * The record of a volume. Throws NOT_FOUND, INVALID_ARGUMENT, DAMAGED.
   * @example const { sizeBytes, parentId } = await mosaic.getVolume("web");
   */
  getVolume(name: string): Promise<VolumeRecord> {
    return this.doing("find", name, (address) => requireVolume(address, this.backend.find(address)));
  }

  /**
   * All about a volume: its record, its sizes, its clones, who holds it. Takes no lock. Throws as `getVolume`.
   * @example const { exclusiveBytes, holders } = await mosaic.statVolume("web");
   */
  statVolume(name: string): Promise<VolumeDetails> {
    return this.doing("look at", name, async (address) => {
      const { record, image = null, ...stat } = await this.backend.stat(address);
      const records = [...this.backend.list()];
      const names = new Map(records.map((other) => [other.id, other.name]));
      const clones = records.filter(({ parentId }) => parentId === record.id).map((clone) => clone.name);
      return { ...describeVolume(record, this.backend.survey()(record), names), clones, ...stat, image };
    });
  }

  /**
   * An object with the methods of one volume. Throws as `getVolume`.
   * @example
   *   const web = await mosaic.openVolume("web");
   *   await web.mount("/srv/web");
   */
  async openVolume(name: string): Promise<Volume> {
    return new Volume(this, await this.getVolume(name));
  }

  /**
   * Makes an empty volume: kind "fs" is ready to mount, "disk" a bare device. `sizeBytes` is needed where `info` says so, and
   * then a multiple of its step; where sizes are not kept it is only recorded, and `notify` gets a line. Gives the record.
   * Throws INVALID_ARGUMENT, UNSUPPORTED, ALREADY_EXISTS, NO_SPACE, UNAVAILABLE, TOOL_FAILED.
   * @example const { id } = await mosaic.createVolume("vm1", { kind: "disk", sizeBytes: parseSize("10G") });
   */
  createVolume(name: string, options: { kind: Kind; sizeBytes?: number | undefined }): Promise<VolumeRecord> {
    return this.doing("create", name, async (address) => {
      const record: VolumeRecord = {
        ...this.newRecord(address, options.kind),
        sizeBytes: options.sizeBytes ?? null,
      };
      requirePossible(record, this.backend.limits, this.backend.resize !== undefined);
      if (record.sizeBytes !== null && this.backend.sizeObstacle) throw this.backend.sizeObstacle;
      await this.backend.create(record);
      await this.tell("created", name, { id: record.id });
      if (record.sizeBytes !== null && !this.backend.resize) {
        const size = formatSize(record.sizeBytes);
        this.notify(
          `note: ${this.config.backend} does not limit the size of volumes: ${size} is recorded, not enforced`,
        );
      }
      return record;
    });
  }

  /**
   * Makes a writable copy-on-write copy. The origin may be mounted; the clone is then what a power cut at that moment would
   * leave, with a filesystem UUID of its own. Gives the clone's record. Throws UNSUPPORTED, NOT_FOUND, ALREADY_EXISTS,
   * NO_SPACE, BUSY, LOCKED, DAMAGED.
   * @example const { parentId } = await mosaic.cloneVolume("golden", "web-1");
   */
  cloneVolume(origin: string, name: string): Promise<VolumeRecord> {
    return this.doing("clone", origin, async (from) => {
      const to = this.addressOf(name);
      const { clone } = this.backend;
      if (!clone)
        throw unsupported(
          "clone",
          `${this.config.backend} volumes at ${quote(this.config.location)} cannot share data`,
        );
      const record = await clone(from, (parent) => ({
        ...this.newRecord(to, parent.kind),
        filesystem: parent.filesystem,
        sizeBytes: parent.sizeBytes,
        parentId: parent.id,
      }));
      await this.tell("cloned", name, { id: record.id, origin });
      return record;
    });
  }

  /**
   * Destroys a volume and its data. Its clones stay. Throws NOT_FOUND, BUSY with details.holders, LOCKED. An error with
   * details.dropped true means that the volume is gone and not all of it could be removed yet.
   * @example await mosaic.dropVolume("web");
   */
  dropVolume(name: string): Promise<void> {
    return this.doing("drop", name, async (address) => {
      try {
        await this.backend.drop(address);
      } catch (thrown) {
        if (thrown instanceof MosaicError && thrown.details.dropped === true)
          await this.tell("dropped", name);
        throw thrown;
      }
      await this.tell("dropped", name);
    });
  }

  /**
   * Gives a volume another size, also while it is mounted; smaller only with `shrink`. What a killed run began is completed
   * by the same call. Gives the record. Throws UNSUPPORTED, INVALID_ARGUMENT, NOT_FOUND, BUSY, LOCKED, NO_SPACE, TOOL_FAILED
   * when less than what is used was asked.
   * @example await mosaic.resizeVolume("web", parseSize("2G"));
   */
  resizeVolume(name: string, sizeBytes: number, options: { shrink?: boolean } = {}): Promise<VolumeRecord> {
    return this.doing("resize", name, async (address) => {
      const { resize, sizeObstacle, limits } = this.backend;
      const why = `the sizes of ${this.config.backend} volumes are not kept here`;
      if (!resize) throw sizeObstacle ?? unsupported("volsize", why);
      requireSize(null, sizeBytes, limits);
      const record = await resize(address, sizeBytes, { shrink: options.shrink ?? false });
      await this.tell("resized", name, { sizeBytes });
      return record;
    });
  }

  /**
   * Makes a block device that stays until it is detached; gives its path. With `export: "nbd"` the volume, which nothing may
   * use, is shown at a unix socket instead; gives the URI for clients. Throws UNSUPPORTED, NOT_FOUND, BUSY when it is
   * attached already or used in another way, LOCKED.
   * @example const device = await mosaic.attachVolume("vm1");
   */
  attachVolume(
    name: string,
    options: { readOnly?: boolean | undefined; export?: "nbd" | undefined } = {},
  ): Promise<string> {
    const readOnly = options.readOnly ?? false;
    return this.doing("attach", name, async (address) => {
      const { attach, serve } = this.requireBlock();
      const make = options.export ? serve : attach;
      if (!make) throw this.notServed();
      const device = await make(address, readOnly);
      await this.tell("attached", name, { device });
      return device;
    });
  }

  /**
   * Removes the block device, or the socket that no client uses any more. Throws UNSUPPORTED, NOT_FOUND when it is not
   * attached (details.reason is "not-attached"), BUSY with details.holders, LOCKED.
   * @example await mosaic.detachVolume("vm1");
   */
  detachVolume(name: string): Promise<void> {
    return this.doing("detach", name, async (address) => {
      await this.requireBlock().detach(address);
      await this.tell("detached", name);
    });
  }

  /**
   * Mounts a volume onto an existing directory that is no symbolic link. Writable when `readOnly` is absent. Throws NOT_FOUND,
   * INVALID_ARGUMENT, BUSY, LOCKED, DAMAGED, UNAVAILABLE. After an error nothing is mounted or attached.
   * @example await mosaic.mountVolume("web", "/srv/web", { readOnly: true });
   */
  mountVolume(name: string, mountPoint: string, options: { readOnly?: boolean } = {}): Promise<void> {
    const readOnly = options.readOnly ?? false;
    return this.doing("mount", name, async (address) => {
      await mountVolume(this.steps, this.backend, address, mountPoint, readOnly);
      await this.tell("mounted", name, { mountPoint: resolveTarget(mountPoint), readOnly });
    });
  }

  /**
   * Unmounts a volume from a directory, never lazily. Throws NOT_FOUND when it is not what is mounted there (details.reason
   * is "not-mounted"), BUSY with details.holders, INVALID_ARGUMENT, LOCKED.
   * @example await mosaic.unmountVolume("web", "/srv/web");
   */
  unmountVolume(name: string, mountPoint: string): Promise<void> {
    return this.doing("unmount", name, async (address) => {
      await unmountVolume(this.steps, this.backend, address, mountPoint);
      await this.tell("unmounted", name, { mountPoint: resolveTarget(mountPoint) });
    });
  }

  /**
   * Mounts the metadata: the location or its layout.fs directory. Throws NOT_FOUND when the directory of the layout or the
   * mount point is not there, INVALID_ARGUMENT, BUSY.
   * @example await mosaic.mountMetadata("/srv/meta");
   */
  async mountMetadata(mountPoint: string, options: { readOnly?: boolean } = {}): Promise<void> {
    const mount = () => mountMetadata(this.steps, this.backend, mountPoint, options.readOnly ?? false);
    await this.explaining("mount the metadata", mount);
  }

  /** Unmounts the metadata. Throws NOT_FOUND, BUSY, INVALID_ARGUMENT. @example await mosaic.unmountMetadata("/srv/meta"); */
  async unmountMetadata(mountPoint: string): Promise<void> {
    await this.explaining("unmount the metadata", () =>
      unmountMetadata(this.steps, this.backend, mountPoint),
    );
  }

  /**
   * Gives a foreign object a record and so makes it a volume; gives the record. Throws NOT_FOUND, ALREADY_EXISTS, UNSUPPORTED
   * when it cannot be one.
   * @example const { filesystem } = await mosaic.adoptVolume("old", "fs");
   */
  adoptVolume(name: string, kind: Kind): Promise<VolumeRecord> {
    return this.doing("adopt", name, async (address) => {
      requireKind(this.config.backend, kind, this.backend.limits);
      const record = await this.backend.adopt({ ...this.newRecord(address, kind), filesystem: null });
      await this.tell("adopted", name, { id: record.id });
      return record;
    });
  }

  /**
   * Restores the records in a saved answer of `moctl CONFIG list --json`: an object with a list "volumes". One that fails does
   * not stop the others. Throws INVALID_ARGUMENT when it is no such list; then nothing was done.
   * @example
   *   const report = await mosaic.adoptFrom(await Bun.file("/backup/vm.json").json());
   *   for (const { name, error } of report.failed) console.error(name, error.message);
   */
  async adoptFrom(list: unknown): Promise<AdoptReport> {
    const report = {
      adopted: [] as string[],
      unchanged: [] as string[],
      failed: [] as { name: string; error: MosaicError }[],
    };
    for (const entry of parseSavedList(list)) {
      try {
        const isNew = await this.restoreRecord(entry);
        (isNew ? report.adopted : report.unchanged).push(entry.name);
      } catch (thrown) {
        if (!(thrown instanceof MosaicError)) throw thrown;
        report.failed.push({ name: entry.name, error: thrown });
      }
    }
    return report;
  }

  /**
   * Ends the use of the mosaic; `await using` calls it. What is mounted and attached stays so.
   * @example await mosaic[Symbol.asyncDispose]();
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.backend.close();
  }

  private async restoreRecord(saved: VolumeRecord): Promise<boolean> {
    const address = this.addressOf(saved.name);
    if (saved.backend !== this.config.backend || saved.storedName !== address.storedName) {
      const message = `The saved record is of ${saved.backend} at ${quote(saved.storedName)}, but here ${quote(saved.name)} is ${this.config.backend} at ${quote(address.storedName)}`;
      throw new MosaicError("INVALID_ARGUMENT", message, { name: saved.name });
    }
    const found = this.backend.find(address);
    if (found.state === "volume" && found.record.id === saved.id && found.record.name === saved.name)
      return false;
    await this.backend.adopt(saved);
    await this.tell("adopted", saved.name, { id: saved.id });
    return true;
  }

  private addressOf(text: string): VolumeAddress {
    const name = parseVolumeName(text);
    const storedName = this.config.volumeMap.map(name);
    const reserved = this.config.layoutPath;
    if (reserved === "") return { name, storedName };
    const isReserved = `${reserved}/`.startsWith(`${storedName}/`) || storedName.startsWith(`${reserved}/`);
    if (!isReserved) return { name, storedName };
    throw new MosaicError(
      "INVALID_ARGUMENT",
      `The name ${quote(text)} is reserved: the layout keeps the metadata at ${quote(reserved)}`,
      { name: text, reserved },
    );
  }

  private newRecord(address: VolumeAddress, kind: Kind): VolumeRecord {
    return {
      id: crypto.randomUUID(),
      ...address,
      backend: this.config.backend,
      kind,
      filesystem: kind === "fs" ? (this.config.defaultFilesystem ?? null) : null,
      sizeBytes: null,
      parentId: null,
      createdAt: new Date().toISOString(),
      labels: {},
    };
  }

  /** Tells every process that wants to know what was done. A plan did nothing. */
  private async tell(
    type: EventType,
    name: string,
    data: Readonly<Record<string, unknown>> = {},
  ): Promise<void> {
    if (!this.steps.planning) await appendEvent(this.backend.identity, type, { volume: name, ...data });
  }

  private requireBlock() {
    if (this.backend.block) return this.backend.block;
    throw new MosaicError("UNSUPPORTED", `A ${this.config.backend} volume has no block device: mount it`, {
      feature: "bdev",
    });
  }

  private notServed(): MosaicError {
    const message = `${this.config.backend} volumes are not shown at a socket: attach it as a device, and give that to qemu or qemu-nbd`;
    return new MosaicError("UNSUPPORTED", message, { export: "nbd" });
  }

  /** Runs a change; its errors say what was tried and, of a foreign object, how it would become a volume. */
  private async doing<T>(
    what: string,
    name: string,
    action: (address: VolumeAddress) => T | Promise<T>,
  ): Promise<T> {
    const address = this.addressOf(name);
    try {
      return await action(address);
    } catch (thrown) {
      if (!(thrown instanceof MosaicError)) throw thrown;
      const isForeign = thrown.details.isAdoptable === true && what !== "adopt";
      const adopt = isForeign ? { adopt: this.adoptCommand(address.name) } : {};
      const advice = isForeign ? `; to make it a volume: ${adopt.adopt}` : "";
      throw new MosaicError(
        thrown.code,
        `Cannot ${what} ${quote(name)}: ${thrown.message}${advice}`,
        { ...thrown.details, ...adopt },
        thrown,
      );
    }
  }

  private async explaining(what: string, action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (thrown) {
      if (!(thrown instanceof MosaicError)) throw thrown;
      throw new MosaicError(thrown.code, `Cannot ${what}: ${thrown.message}`, thrown.details, thrown);
    }
  }

  /** A command that would make a foreign object a volume; as a disk where it holds no filesystem. */
  private adoptCommand(name: VolumeName): string {
    return shellQuote(["moctl", this.config.file, "adopt", "fs", name]);
  }
}

function unsupported(feature: Feature, message: string): MosaicError {
  return new MosaicError("UNSUPPORTED", message, { feature });
}
