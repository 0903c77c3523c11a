import { until } from "../support/expect.ts";

// A program at a terminal, and what it shows there.

/** A program that believes that a person types. */
export interface Terminal {
  /** What was shown since the last `type`. */
  shown(): string;
  /** Types text; gives what is shown when `isDone` finds it complete. */
  type(text: string, isDone: (shown: string) => boolean): Promise<string>;
  /** Ends the program. */
  close(): Promise<void>;
}

/** Starts a program at a terminal of its own. */
export function openTerminal(
  argv: readonly string[],
  settings: { cwd: string; env: Readonly<Record<string, string>> },
): Terminal {
  let shown = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn([...argv], {
    ...settings,
    terminal: {
      cols: 160,
      rows: 40,
      data: (_terminal, bytes) => {
        shown += decoder.decode(bytes, { stream: true });
      },
    },
  });
  return {
    shown: () => shown,
    async type(text, isDone) {
      shown = "";
      child.terminal?.write(text);
      await until(`${argv[0]} to answer ${JSON.stringify(text)}`, () => isDone(shown));
      return shown;
    },
    async close() {
      child.kill("SIGKILL");
      await child.exited;
      child.terminal?.close();
    },
  };
}
