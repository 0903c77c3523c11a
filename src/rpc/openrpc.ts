import { resultSchemas } from "../api/resultschemas.ts";
import type { Method, ResultSchema } from "./method.ts";
import * as z from "./schemawords.ts";
import { listWireErrors } from "./wirecodes.ts";

// The server described for programs: https://spec.open-rpc.org, in the version that generators read, 1.3.2.

/** The OpenRPC document of a table of methods. */
export function describeServer(methods: ReadonlyMap<string, Method>, version: string): object {
  const errors = listWireErrors();
  return {
    openrpc: "1.3.2",
    info: {
      title: "moctl",
      version,
      description: "Hybrid storage for virtual machines and containers",
      license: { name: "MIT" },
    },
    methods: [...methods].map(([name, method]) =>
      describeMethod(
        name,
        method,
        errors.map(({ name: code }) => code),
      ),
    ),
    components: {
      errors: Object.fromEntries(errors.map(({ name, code }) => [name, { code, message: name }])),
      schemas: { ErrorData: ERROR_DATA },
    },
    "x-notifications": ["$/cancelRequest", "notifications/cancelled", "exit", "$/progress", "$/event"],
  };
}

/** What `data` of an error is, whatever its code. */
const ERROR_DATA = {
  type: "object",
  properties: {
    code: { type: "string" },
    retryable: { type: "boolean" },
    sideEffects: { type: "string", enum: ["none", "partial", "applied", "unknown"] },
    details: { type: "object" },
  },
  required: ["code", "retryable", "sideEffects", "details"],
};

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, object>>;
  readonly required?: readonly string[];
}

function describeMethod(name: string, method: Method, errors: readonly string[]): object {
  const { properties = {}, required = [] } = toJsonSchema(method.schema(z));
  return {
    name,
    summary: method.summary,
    paramStructure: "either",
    params: method.parameters.map((parameter) => ({
      name: parameter,
      required: required.includes(parameter),
      schema: properties[parameter] ?? {},
    })),
    result: { name: "result", schema: toJsonSchema(method.result(z, resultSchemas(z))) },
    errors: errors.map((code) => ({ $ref: `#/components/errors/${code}` })),
    "x-mutates": method.mutates,
    "x-background": method.storage !== undefined,
  };
}

function toJsonSchema(schema: ReturnType<ResultSchema>): ObjectSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { target: "draft-7" }) as Record<string, unknown>;
  return rest as ObjectSchema;
}
