import { afterEach, expect, test } from "bun:test";
import { ALL_BEDS, type Bed, describeOnBed, needsSize, run } from "../support/beds.ts";
import { createVolume } from "../support/checking.ts";
import { clearBed } from "../support/foreign.ts";
import { succeed } from "./moctl.ts";

// The numbers as people read them, compared with what other programs print.

for (const row of ALL_BEDS) {
  describeOnBed(row, (bed) => {
    afterEach(() => clearBed(bed));
    test("list and info print the numbers of stat, du, numfmt and uname", () => readNumbers(bed));
  });
}

/** The lines of a word, a colon and a text. */
/** The package of QEMU keeps the number of its first release, and takes the later ones as patches. */
function packaged(name: string, version: string): string {
  const kept = name.startsWith("qemu-") ? version.split(".").slice(0, 2).join(".") : version;
  return kept.replaceAll(".", "\\.");
}

function readLines(text: string): Map<string, string> {
  return new Map(
    text
      .trimEnd()
      .split("\n")
      .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
  );
}

/** A number of bytes as a person reads it, with the bytes behind it. */
function describeBytes(bytes: number): string {
  const text = run("numfmt", "--to=iec", "--round=nearest", "--format=%.1f", String(bytes)).trim();
  return `${text.replace(".0", "")} (${bytes})`;
}

/** Whole numbers have no decimal, whether they are exact or rounded. */
function shorten(text: string | undefined): string {
  return (text ?? "").replaceAll(/\.0(?=[KMGT] )/g, "");
}

/** The size of an image, or the limit that a quota keeps; nothing limits a directory without one. */
function describeVirtual({ row }: Bed, imageBytes: number): string {
  if (row.backend === "loop") return describeBytes(imageBytes);
  return row.quota || needsSize(row) ? describeBytes(16 * 1024 ** 2) : "-";
}

async function readNumbers(bed: Bed): Promise<void> {
  const path = await createVolume(bed, "web");
  run("sync", "-f", bed.location);
  const isLoop = bed.row.backend === "loop";
  const [size = 0, blocks = 0] = run("stat", "-c", "%s %b", path).split(" ").map(Number);
  const used = isLoop ? blocks * 512 : Number(run("du", "-s", "--block-size=1", path).split("\t")[0]);
  const details = readLines(succeed(bed.config, "info", "web"));
  expect(Object.fromEntries([...details].map(([word, text]) => [word, shorten(text)]))).toMatchObject({
    name: "web",
    asked: describeBytes(16 * 1024 ** 2),
    virtual: describeVirtual(bed, size),
    allocated: describeBytes(used),
    exclusive: describeBytes(used),
    parent: "-",
    clones: "-",
    holders: "-",
  });
  const columns = succeed(bed.config, "list").split("\n")[1]?.split(/ +/);
  expect(columns).toEqual(["web", "fs", needsSize(bed.row) ? "ext4" : "-", "16M", "-", "-", "-"]);
  const info = readLines(succeed(bed.config, "info"));
  const space = run("stat", "-f", "-c", "%S %b %f %a", bed.location).split(" ").map(Number);
  const [unit = 0, all = 0, free = 0, available = 0] = space;
  expect(shorten(info.get("space"))).toBe(
    `${describeBytes(all * unit)} ${bed.row.filesystem}, ${describeBytes((all - free) * unit)} used, ${describeBytes(available * unit)} available`,
  );
  expect(info.get("kernel")).toStartWith(`${run("uname", "-r").trim()} with `);
  for (const [, name = "", version = ""] of (info.get("tools") ?? "").matchAll(/([\w-]+) ([\d.]+)/g))
    expect(run("dpkg-query", "-W", name)).toMatch(new RegExp(`\\t(\\d+:)?${packaged(name, version)}[+-]`));
  expect(info.get("tools")).not.toBe("none needed");
}
