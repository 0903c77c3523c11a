import type { Config } from "../api/config.ts";
import type { Mosaic } from "../api/mosaic.ts";
import { loadConfig, openConfigured } from "../api/open.ts";
import { findStatus } from "../system/files.ts";
import type { Steps } from "../system/steps.ts";

/** How long a location stays open after its last use: as long as it is, its filesystem cannot be unmounted. */
const IDLE_MS = 1_000;

interface Kept {
  readonly config: Config;
  /** Changes when the config's file does. */
  readonly version: string;
  reader: Mosaic | undefined;
  timer: Timer | undefined;
}

/** The mosaics of a server, by what their configs are called. A config that has changed is read again. */
export class Mosaics {
  private readonly kept = new Map<string, Kept>();

  /** The config of a name or path. Throws as `openMosaic`. */
  async config(nameOrPath: string): Promise<Config> {
    return (await this.find(nameOrPath)).config;
  }

  /** A mosaic to read from, which stays open for a moment. Throws as `openMosaic`. */
  async reader(nameOrPath: string): Promise<Mosaic> {
    const kept = await this.find(nameOrPath);
    kept.reader ??= openConfigured(kept.config);
    clearTimeout(kept.timer);
    kept.timer = setTimeout(() => closeReader(kept), IDLE_MS);
    kept.timer.unref();
    return kept.reader;
  }

  /** A mosaic for one change; the caller disposes of it. Throws as `openMosaic`. */
  async writer(nameOrPath: string, steps: Steps, notify: (line: string) => void): Promise<Mosaic> {
    return openConfigured((await this.find(nameOrPath)).config, { steps, notify });
  }

  close(): void {
    for (const kept of this.kept.values()) closeReader(kept);
  }

  private async find(nameOrPath: string): Promise<Kept> {
    const known = this.kept.get(nameOrPath);
    if (known && known.version === versionOf(known.config.file)) return known;
    if (known) closeReader(known);
    const config = await loadConfig(nameOrPath);
    const kept: Kept = { config, version: versionOf(config.file), reader: undefined, timer: undefined };
    this.kept.set(nameOrPath, kept);
    return kept;
  }
}

function closeReader(kept: Kept): void {
  clearTimeout(kept.timer);
  void kept.reader?.[Symbol.asyncDispose]();
  kept.reader = undefined;
}

function versionOf(path: string): string {
  const status = findStatus(path);
  return status ? `${status.dev}:${status.ino}:${status.ctimeNs}:${status.size}` : "gone";
}
