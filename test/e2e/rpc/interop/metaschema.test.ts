import { afterEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import openrpcDocument from "@open-rpc/meta-schema";
import { BEDS, type Bed, describeOnBed } from "../../../support/beds.ts";
import { clearBed } from "../../../support/foreign.ts";
import { moctl } from "../../moctl.ts";
import { Client } from "../client.ts";

// Case 40: the description is one that the tools of OpenRPC read, and the server answers as it says.

interface Description {
  readonly methods: {
    readonly name: string;
    readonly params: { schema: object }[];
    readonly result: { readonly schema: object };
  }[];
  readonly components: { readonly errors: Readonly<Record<string, { readonly code: number }>> };
}

const describeServer = () => JSON.parse(moctl(["--rpc", "--openrpc"]).stdout) as Description;

/** What is wrong with a value by a JSON Schema; undefined when nothing is. */
function findFault(schema: object, value: unknown): string | undefined {
  return new AjvJsonSchemaValidator().getValidator(schema as never)(value).errorMessage;
}

/** The schema of descriptions, with the JSON Schema of draft 7 in place of one that would have to be fetched. */
function metaSchema(): object {
  const text = JSON.stringify(openrpcDocument)
    .replaceAll('"https://meta.json-schema.tools"', '"http://json-schema.org/draft-07/schema#"')
    .replaceAll(
      /"https:\/\/meta\.json-schema\.tools\/[^"]*"/g,
      '"http://json-schema.org/draft-07/schema#/properties/$ref"',
    );
  const { $schema: _, ...schema } = JSON.parse(text) as Record<string, unknown>;
  return schema;
}

test("case 40: the description passes the schema of OpenRPC, which refuses what is wrong", () => {
  const description = describeServer();
  expect(findFault(metaSchema(), description)).toBeUndefined();
  const { methods, ...rest } = description;
  expect(findFault(metaSchema(), rest)).toContain("methods");
  for (const param of methods.flatMap(({ params }) => params).slice(0, 1)) param.schema = { type: 5 };
  expect(findFault(metaSchema(), { ...rest, methods })).toContain("schema/type");
});

test("case 40: the manual has every code and every method of the description", () => {
  const manual = readFileSync(join(import.meta.dir, "../../../../doc/rpc.txt"), "utf8");
  const { methods, components } = describeServer();
  for (const [name, { code }] of Object.entries(components.errors))
    expect(manual).toMatch(new RegExp(`\\b${code} [A-Z_, ]*\\b${name}\\b`));
  expect(methods.length).toBeGreaterThan(25);
  for (const { name } of methods)
    expect(manual).toMatch(new RegExp(`^ {6}${name.replace(".", "\\.")} `, "m"));
});

describeOnBed(BEDS.loop[1], (bed) => {
  afterEach(() => clearBed(bed));
  test("case 40: every method answers as the description says", () => callEveryMethod(bed));
});

async function callEveryMethod(bed: Bed): Promise<void> {
  await using client = new Client([bed.config, "rpc"], join(bed.directory, "run"));
  const left = new Map(describeServer().methods.map(({ name, result }) => [name, result.schema]));
  const call = async (method: string, params?: object) => {
    const { result, error } = await client.call(method, params);
    expect({ method, error }).toEqual({ method, error: undefined });
    expect({ method, fault: findFault(left.get(method) ?? {}, result) }).toEqual({
      method,
      fault: undefined,
    });
    left.delete(method);
    return result as Record<string, unknown>;
  };
  const [web, copy, mountPoint, place] = ["web", "copy", bed.makeMountPoint(), bed.makeMountPoint()];
  for (const method of ["server.ping", "server.info", "rpc.discover", "mosaic.info", "mosaic.list"])
    await call(method);
  const { subscription } = await call("events.subscribe");
  await call("volume.create", { volume: web, kind: "fs", sizeBytes: 16 * 1024 ** 2 });
  await call("volume.clone", { origin: web, volume: copy });
  await call("volume.mount", { volume: web, mountPoint });
  await call("volume.attach", { volume: web });
  for (const method of ["volume.info", "volume.have"]) await call(method, { volume: web });
  const list = await call("volume.list");
  await call("volume.umount", { volume: web, mountPoint });
  await call("volume.detach", { volume: web });
  await call("volume.resize", { volume: web, sizeBytes: 32 * 1024 ** 2 });
  await call("mosaic.mount", { mountPoint: place });
  await call("mosaic.umount", { mountPoint: place });
  await call("mosaic.check");
  await call("mosaic.adopt", { list });
  await client.call("volume.drop", { volume: copy, _meta: { background: true, jobId: "j1" } });
  for (const method of ["job.wait", "job.get", "job.cancel", "job.dismiss"])
    await call(method, { job: "j1" });
  await call("job.list");
  await call("volume.drop", { volume: web });
  await Bun.write(join(bed.location, "old"), new Uint8Array(512));
  await call("volume.adopt", { volume: "old", kind: "disk" });
  await call("events.unsubscribe", { subscription });
  expect([...left.keys()]).toEqual([]);
}
