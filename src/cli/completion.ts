import type { ShellName } from "./arguments.ts";
import bash from "./shells/moctl.bash" with { type: "text" };
import fish from "./shells/moctl.fish" with { type: "text" };
import zsh from "./shells/moctl.zsh" with { type: "text" };

const SCRIPTS: Readonly<Record<ShellName, string>> = { bash, zsh, fish };

/** The script that lets a shell complete words of moctl; at each key it asks `moctl completion SHELL -- WORD...`. */
export function formatCompletion(shellName: ShellName): string {
  return SCRIPTS[shellName];
}
