import { afterEach, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { formatRecord, RECORD_ATTRIBUTE } from "../../../src/location/record.ts";
import { setAttribute } from "../../../src/system/libc.ts";
import { BEDS, type Bed, describeOnBed } from "../../support/beds.ts";
import { clearBed } from "../../support/foreign.ts";
import { makeRecord } from "../../support/records.ts";
import { succeed } from "../moctl.ts";
import { Client } from "./client.ts";

// Lists that are longer than an answer shall be.

const COUNT = 1200;
const NAMES = Array.from({ length: COUNT }, (_, number) => `v${String(number).padStart(4, "0")}`);

interface Page {
  readonly volumes: { readonly name: string }[];
  readonly nextCursor?: string;
}

describeOnBed(BEDS.plain[0], (bed) => {
  afterEach(() => clearBed(bed));
  test("1200 volumes come in pages, each once and in order; the command line has them whole", () =>
    readAll(bed));
  test("a page goes on behind the last volume, whatever was dropped and made meanwhile", () =>
    readChanging(bed));
  test("groups keep their order from page to page", () => readGroups(bed));
  test("a page that cannot be is refused, one behind the end is empty", () => refusePages(bed));
  test("jobs come in pages", () => readJobs(bed));
});

function connect(bed: Bed): Client {
  return new Client([bed.config, "rpc"], join(bed.directory, "run"));
}

/** Makes volumes as moctl would leave them, without what makes them durable. */
function makeVolumes(bed: Bed, names: readonly string[]): void {
  for (const name of names) {
    const path = join(bed.location, name);
    mkdirSync(path);
    const fd = openSync(path, "r");
    const record = makeRecord(name, "plain");
    setAttribute(fd, RECORD_ATTRIBUTE, formatRecord(record), true);
    closeSync(fd);
  }
}

async function list(client: Client, params?: object): Promise<Page> {
  const { result, error } = await client.call("volume.list", params);
  expect(error).toBeUndefined();
  return result as Page;
}

function namesOf({ volumes }: Page): string[] {
  return volumes.map(({ name }) => name);
}

async function readPages(client: Client, limit?: number): Promise<string[][]> {
  const pages: string[][] = [];
  for (let cursor: string | undefined = ""; cursor !== undefined; ) {
    const page: Page = await list(client, { ...(limit && { limit }), cursor });
    pages.push(namesOf(page));
    cursor = page.nextCursor;
  }
  return pages;
}

async function readAll(bed: Bed): Promise<void> {
  makeVolumes(bed, NAMES);
  await using client = connect(bed);
  const pages = await readPages(client);
  expect(pages.map(({ length }) => length)).toEqual([500, 500, 200]);
  expect(pages.flat()).toEqual(NAMES);
  expect((await readPages(client, 1000)).map(({ length }) => length)).toEqual([1000, 200]);
  expect((await readPages(client, COUNT / 3)).map(({ length }) => length)).toEqual([400, 400, 400]);
  const whole = JSON.parse(succeed(bed.config, "list", "--json")) as Page;
  expect(Object.keys(whole)).toEqual(["volumes"]);
  expect(namesOf(whole)).toEqual(NAMES);
}

async function readChanging(bed: Bed): Promise<void> {
  makeVolumes(bed, ["a", "c", "e", "g"]);
  await using client = connect(bed);
  const first = await list(client, { limit: 2 });
  expect(namesOf(first)).toEqual(["a", "c"]);
  // The place of the cursor itself, one before it, and one on each side of it.
  for (const name of ["a", "c"]) succeed(bed.config, "drop", name);
  makeVolumes(bed, ["b", "d"]);
  const rest = await list(client, { cursor: first.nextCursor });
  expect(rest.nextCursor).toBeUndefined();
  expect(namesOf(rest)).toEqual(["d", "e", "g"]);
}

async function readGroups(bed: Bed): Promise<void> {
  const names = ["vm", "vm-1", "vm.1", "vm0", "x/y", "x/y-1", "x-y", "x0"];
  for (const name of names) succeed(bed.config, "create", "fs", name);
  await using client = connect(bed);
  const whole = JSON.parse(succeed(bed.config, "list", "--json")) as Page;
  expect(namesOf(whole).sort()).toEqual([...names].sort());
  expect(await readPages(client, 1)).toEqual(
    namesOf(JSON.parse(succeed(bed.config, "list", "--json")) as Page).map((name) => [name]),
  );
}

async function refusePages(bed: Bed): Promise<void> {
  makeVolumes(bed, ["a"]);
  await using client = connect(bed);
  for (const [params, path] of [
    [{ limit: 0 }, "/limit"],
    [{ limit: 1001 }, "/limit"],
    [{ limit: 1.5 }, "/limit"],
    [{ limit: "5" }, "/limit"],
    [{ cursor: 5 }, "/cursor"],
  ] as const)
    expect((await client.call("volume.list", params)).error).toMatchObject({
      code: -32602,
      data: { details: { path } },
    });
  expect(await list(client, { cursor: "z" })).toEqual({ volumes: [] });
  expect(namesOf(await list(client, { limit: 1 }))).toEqual(["a"]);
}

async function readJobs(bed: Bed): Promise<void> {
  await using client = connect(bed);
  const ids = ["j1", "j2", "j3"];
  for (const jobId of ids) {
    await client.call("volume.create", { kind: "fs", volume: jobId, _meta: { background: true, jobId } });
    await client.call("job.wait", { job: jobId });
  }
  const read = async (params: object) => {
    const { jobs, nextCursor } = (await client.call("job.list", params)).result as {
      jobs: { id: string }[];
      nextCursor?: string;
    };
    return { ids: jobs.map(({ id }) => id), cursor: nextCursor };
  };
  const first = await read({ limit: 2 });
  expect(first.ids).toEqual(["j1", "j2"]);
  expect(await read({ cursor: first.cursor })).toEqual({ ids: ["j3"], cursor: undefined });
}
