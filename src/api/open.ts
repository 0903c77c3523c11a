import { statSync } from "node:fs";
import { BACKENDS, type BackendRow } from "../backends/registry.ts";
import { MosaicError, quote } from "../base/errors.ts";
import { calling, hasErrno } from "../system/errno.ts";
import { directSteps, type Steps } from "../system/steps.ts";
import type { Config } from "./config.ts";
import { readConfigFile } from "./configfile.ts";
import { Mosaic } from "./mosaic.ts";
import type { Notify } from "./results.ts";

/** How a mosaic is opened. */
export interface OpenOptions {
  /** How changes are made, see STEPS: logged, only planned, cancellable. Directly when absent. */
  readonly steps?: Steps;
  /** Gets lines that are neither results nor errors, such as the note that a size is not enforced. They are lost when absent. */
  readonly notify?: Notify;
  /** How many milliseconds to wait for a volume that another process works on; 30000 when absent, 0 does not wait. */
  readonly lockTimeoutMs?: number;
}

/**
 * Reads the config, checks it and the location, and opens the location. `nameOrPath`: a path that begins with "." or "/", or a
 * name under /etc/mosaic or MOSAIC_CONFIG_DIR. Throws NOT_FOUND, INVALID_ARGUMENT, INVALID_CONFIG; UNSUPPORTED or UNAVAILABLE
 * of the location; PERMISSION_DENIED without CAP_SYS_ADMIN in the first user namespace.
 * @example
 *   await using mosaic = await openMosaic("/etc/mosaic/vm.mos", { lockTimeoutMs: 5_000 });
 *   console.log(mosaic.name);
 */
export async function openMosaic(nameOrPath: string, options: OpenOptions = {}): Promise<Mosaic> {
  return openConfigured(await loadConfig(nameOrPath), options);
}

/** The config that a name or path leads to. Throws NOT_FOUND, INVALID_CONFIG. */
export async function loadConfig(nameOrPath: string): Promise<Config> {
  const file = readConfigFile(nameOrPath);
  // The YAML and schema libraries cost time to load, so only what reads a config loads them.
  const { parseConfig } = await import("./config.ts");
  return parseConfig(file);
}

/** Opens the mosaic of a config. Throws what `openMosaic` throws for a location. */
export function openConfigured(config: Config, options: OpenOptions = {}): Mosaic {
  const row: BackendRow = BACKENDS[config.backend];
  if (!row.locationIsDevice) requireLocation(config);
  const steps = options.steps ?? directSteps;
  const backend = row.open({
    steps,
    location: config.location,
    layoutPath: config.layoutPath,
    requireMount: config.requireMount,
    quota: config.quota,
    defaultFilesystem: config.defaultFilesystem,
    pool: config.pool,
    state: config.state,
    limits: config.limits,
    chain: config.chain,
    engine: config.engine,
    lockTimeoutMs: options.lockTimeoutMs ?? 30_000,
    wrongLocation: (found, expected) =>
      config.faultAt("location", `location: expected ${expected}, found ${found}`),
  });
  return new Mosaic(config, backend, steps, options.notify ?? (() => {}));
}

function requireLocation(config: Config): void {
  const found = findKind(config.location);
  if (found === "a directory") return;
  throw config.faultAt(
    "location",
    `location: expected a directory, found ${found} at ${quote(config.location)}`,
  );
}

function findKind(path: string): string {
  try {
    const status = calling("stat", path, () => statSync(path, { throwIfNoEntry: false }));
    if (!status) return "nothing";
    return status.isDirectory() ? "a directory" : "a file";
  } catch (thrown) {
    if (!(thrown instanceof MosaicError)) throw thrown;
    if (thrown.code === "PERMISSION_DENIED") throw thrown;
    if (hasErrno(thrown, "ELOOP", "ENOTDIR")) return "nothing";
    return `no path (${thrown.details.errno ?? "it has a NUL byte"})`;
  }
}
