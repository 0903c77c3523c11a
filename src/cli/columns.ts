/** A table with its columns aligned by blanks. */
export function alignColumns(table: readonly (readonly string[])[]): string {
  const rows = table.map((row) => row.map(escapeControls));
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0),
  );
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

/** Text in which no character forges a line or reaches the terminal: a mount point may have any. */
export function escapeControls(text: string): string {
  return text.replaceAll(/\p{C}/gu, escapeCharacter);
}

function escapeCharacter(character: string): string {
  return [...Buffer.from(character)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}
