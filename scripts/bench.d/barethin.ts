import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { RECORD_ATTRIBUTE } from "../../src/location/record.ts";
import { setAttribute } from "../../src/system/libc.ts";
import { runProgram } from "./measure.ts";
import { dmsetup, type Pool } from "./pool.ts";

const MKFS = ["-q", "-O", "metadata_csum,metadata_csum_seed", "-E", "lazy_itable_init=1,lazy_journal_init=1"];

/** Thin volumes as a script keeps them that is as durable as moctl: what is written down, told to the pool and made, and no more. */
export class BareThin {
  private readonly ids = new Map<string, number>();
  private transaction = 0;

  /** @param sizeBytes of each volume */
  constructor(
    private readonly pool: Pool,
    private readonly sizeBytes: number,
  ) {}

  create(name: string): void {
    this.make(name, "create_thin", (device) => runProgram({ argv: ["mkfs.ext4", ...MKFS, device] }));
  }

  clone(origin: string, name: string): void {
    const id = this.ids.get(origin);
    const message = (own: string) => `${own} ${id}`;
    this.make(
      name,
      "create_snap",
      (device) => runProgram({ argv: ["tune2fs", "-U", "random", device] }),
      message,
    );
  }

  drop(name: string): void {
    this.begin();
    this.send(`delete ${this.ids.get(name)}`);
    rmSync(this.pathOf(name));
    syncPath(dirname(this.pathOf(name)));
    this.ids.delete(name);
  }

  private make(
    name: string,
    message: string,
    fill: (device: string) => void,
    complete: (id: string) => string = (id) => id,
  ): void {
    this.begin();
    const id = this.transaction;
    const building = this.pathOf(".new");
    replaceFile(building, JSON.stringify({ version: 1, id, transaction: this.transaction }));
    this.send(`${message} ${complete(String(id))}`);
    const device = `${this.pool.name}-${id}`;
    dmsetup(
      "create",
      device,
      "--table",
      `0 ${this.sizeBytes / 512} thin /dev/mapper/${this.pool.name} ${id}`,
    );
    fill(`/dev/mapper/${device}`);
    syncPath(`/dev/mapper/${device}`);
    dmsetup("remove", device);
    this.publish(building, name);
    this.ids.set(name, id);
  }

  /** Writes down the next transaction id, and gives it to the pool. */
  private begin(): void {
    const [current, next] = [this.transaction, this.transaction + 1];
    const ledger = { version: 1, blockBytes: 65_536, transaction: current, next };
    replaceFile(join(this.pool.directory, "state/pool"), JSON.stringify(ledger));
    this.send(`set_transaction_id ${current} ${next}`);
    this.transaction = next;
  }

  /** Gives what is built its record, and then its name. */
  private publish(building: string, name: string): void {
    const record = {
      version: 1,
      id: crypto.randomUUID(),
      name,
      kind: "fs",
      filesystem: "ext4",
      sizeBytes: this.sizeBytes,
    };
    const fd = openSync(building, "r");
    setAttribute(fd, RECORD_ATTRIBUTE, JSON.stringify(record), true);
    fsyncSync(fd);
    closeSync(fd);
    renameSync(building, this.pathOf(name));
    syncPath(dirname(building));
  }

  private send(message: string): void {
    dmsetup("message", this.pool.name, "0", message);
  }

  private pathOf(name: string): string {
    return join(this.pool.directory, "state/volumes", name);
  }
}

function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.next`, `${text}\n`);
  syncPath(`${path}.next`);
  renameSync(`${path}.next`, path);
  syncPath(dirname(path));
}

function syncPath(path: string): void {
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}
