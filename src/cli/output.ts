import { EXIT_OUTPUT_LOST, EXIT_PIPE_CLOSED } from "./exitcodes.ts";

/** Writes text to standard output; gives 0, or the exit status when it cannot be written. */
export async function writeOutput(text: string): Promise<number> {
  if (text === "") return 0;
  try {
    await Bun.write(Bun.stdout, text);
    return 0;
  } catch (thrown) {
    if ((thrown as { code?: string }).code === "EPIPE") return EXIT_PIPE_CLOSED;
    writeDiagnostic(`moctl: cannot write standard output: ${(thrown as Error).message}`);
    return EXIT_OUTPUT_LOST;
  }
}

/** Writes a line to standard error. */
export function writeDiagnostic(line: string): void {
  console.error(line);
}
