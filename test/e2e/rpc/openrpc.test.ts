import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ACTION_NAMES, actionOf } from "../../../src/api/actions.ts";
import { moctl } from "../moctl.ts";
import { Client } from "./client.ts";

// The description of the server is that of the server.

interface Document {
  readonly openrpc: string;
  readonly methods: readonly {
    readonly name: string;
    readonly params: readonly {
      readonly name: string;
      readonly required: boolean;
      readonly schema: object;
    }[];
    readonly errors: readonly { readonly $ref: string }[];
  }[];
  readonly components: { readonly errors: Readonly<Record<string, { readonly code: number }>> };
}

test("the program prints it, the server gives it, the document is it", async () => {
  const printed = moctl(["--rpc", "--openrpc"]);
  expect(printed).toMatchObject({ exit: 0, stderr: "" });
  expect(readFileSync(join(import.meta.dir, "../../../doc/openrpc.json"), "utf8")).toBe(printed.stdout);
  await using client = new Client(["--rpc"]);
  expect((await client.call("rpc.discover")).result).toEqual(JSON.parse(printed.stdout));
});

test("it has every method that the server has, with schemas, and every error", async () => {
  const document = JSON.parse(moctl(["--rpc", "--openrpc"]).stdout) as Document;
  expect(document.openrpc).toBe("1.3.2");
  const names = document.methods.map(({ name }) => name);
  for (const action of ACTION_NAMES)
    expect(names).toEqual(expect.arrayContaining(Object.keys(actionOf(action).methods)));
  expect(new Set(names).size).toBe(names.length);
  await using client = new Client(["--rpc"]);
  for (const { name, params, errors } of document.methods) {
    // A saved list may be anything: what it is not is said of its entries.
    for (const { schema } of params.filter((param) => param.name !== "list"))
      expect(Object.keys(schema).length).toBeGreaterThan(0);
    for (const { $ref } of errors)
      expect(document.components.errors[$ref.split("/").at(-1) ?? ""]?.code).toBeGreaterThan(1000);
    const { error } = await client.call(name, { "no such param": 1 });
    expect({ name, code: error?.code }).toEqual({ name, code: -32602 });
  }
});
