import { FILESYSTEM_NAMES, type FilesystemName } from "../filesystems/registry.ts";
import * as z from "./zod.ts";

/** What a config says, by the names of its keys. */
export interface ConfigFields {
  readonly type: string;
  readonly location: string;
  readonly default_fs?: FilesystemName | undefined;
  readonly layout?: { readonly fs: string } | undefined;
  readonly volumeMap?: string | undefined;
  readonly requireMount?: boolean | undefined;
}

/** The keys of a config. Built when a config is read: a schema at module level would cost every start. */
export function configSchema(types: readonly string[], hasDefaultFilesystem: boolean) {
  const text = z.string().check(z.minLength(1));
  const shape = {
    type: z.enum(types as [string, ...string[]]),
    location: text,
    layout: z.optional(z.strictObject({ fs: text })),
    volumeMap: z.optional(text),
    requireMount: z.optional(z.boolean()),
  };
  return z.strictObject(
    hasDefaultFilesystem ? { ...shape, default_fs: z.optional(z.enum(FILESYSTEM_NAMES)) } : shape,
  );
}
