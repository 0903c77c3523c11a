import { MosaicError } from "../base/errors.ts";
import { type ActionName, actionOf, runAction } from "./actions.ts";
import type { Config } from "./config.ts";
import type { Mosaic } from "./mosaic.ts";
import { loadConfig, type OpenOptions, openConfigured } from "./open.ts";

/** Opens a mosaic and runs an action on it, with values that come from outside. Throws what the two throw. */
export async function performAction(
  nameOrPath: string,
  name: ActionName,
  values: Readonly<Record<string, unknown>>,
  options: OpenOptions,
): Promise<object> {
  const config = await loadConfig(nameOrPath);
  const opened = tryOpen(config, options);
  if (opened instanceof MosaicError) {
    const { whenClosed } = actionOf(name);
    if (whenClosed && opened.code !== "PERMISSION_DENIED") return whenClosed(config, opened);
    throw opened;
  }
  await using mosaic = opened;
  return await runAction(mosaic, name, values);
}

function tryOpen(config: Config, options: OpenOptions): Mosaic | MosaicError {
  try {
    return openConfigured(config, options);
  } catch (thrown) {
    if (thrown instanceof MosaicError) return thrown;
    throw thrown;
  }
}
