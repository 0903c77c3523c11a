import { expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import {
  CancellationTokenSource,
  createMessageConnection,
  type MessageConnection,
  ProgressType,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
} from "vscode-jsonrpc/node";
import { MOCTL } from "../../moctl.ts";
import { SELFTEST } from "../wire.ts";

// Case 40, with vscode-jsonrpc: the client of the Language Server Protocol, which speaks by headers.

interface Connected extends AsyncDisposable {
  readonly connection: MessageConnection;
  readonly child: ChildProcess;
  readonly closed: Promise<number | null>;
}

function connect(): Connected {
  const child = spawn(MOCTL, SELFTEST, { stdio: ["pipe", "pipe", "inherit"] });
  const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
  const connection = createMessageConnection(
    new StreamMessageReader(child.stdout),
    new StreamMessageWriter(child.stdin),
  );
  connection.listen();
  const dispose = async () => {
    connection.dispose();
    child.kill("SIGKILL");
    await closed;
  };
  return { connection, child, closed, [Symbol.asyncDispose]: dispose };
}

test("case 40: vscode-jsonrpc calls by place, by name and without params", async () => {
  await using connected = connect();
  const { connection } = connected;
  expect(await connection.sendRequest<number>("subtract", 42, 23)).toBe(19);
  expect(await connection.sendRequest<number>("subtract", { subtrahend: 23, minuend: 42 })).toBe(19);
  expect(await connection.sendRequest<object>("server.ping")).toEqual({});
  expect(await connection.sendRequest<object>("server.info")).toMatchObject({ framing: "lsp" });
  expect(await connection.sendRequest<object>("echo", { value: "é😀\u2028" })).toEqual({
    value: "é😀\u2028",
  });
  const many = Array.from({ length: 200 }, (_, minuend) => minuend);
  expect(
    await Promise.all(
      many.map((n) => connection.sendRequest<number>("subtract", { minuend: n, subtrahend: 1 })),
    ),
  ).toEqual(many.map((n) => n - 1));
});

test("case 40: vscode-jsonrpc gets errors with their codes and data", async () => {
  await using connected = connect();
  const thrown = await connected.connection.sendRequest("subtract", { minuend: 1 }).catch((error) => error);
  expect(thrown).toBeInstanceOf(ResponseError);
  expect(thrown).toMatchObject({
    code: -32602,
    data: { code: "INVALID_ARGUMENT", details: { path: "/subtrahend" } },
  });
  const unknown = await connected.connection.sendRequest("foobar").catch((error) => error);
  expect(unknown).toMatchObject({ code: -32601 });
});

test("case 40: vscode-jsonrpc cancels with its token, and hears progress", async () => {
  await using connected = connect();
  const { connection } = connected;
  const progress = Promise.withResolvers<object>();

  connection.onProgress(new ProgressType<object>(), "token", (value) => progress.resolve(value));
  const source = new CancellationTokenSource();
  const call = connection
    .sendRequest("sleep", { ms: 100_000, _meta: { progressToken: "token" } }, source.token)
    .catch((error: unknown) => error);
  expect(await progress.promise).toMatchObject({ progress: 1 });
  source.cancel();
  expect(await call).toMatchObject({
    code: 1001,
    data: { code: "CANCELLED", details: { reason: "client" } },
  });
});

test("case 40: vscode-jsonrpc shuts the server down and exits", async () => {
  await using connected = connect();
  expect(await connected.connection.sendRequest<null>("shutdown")).toBeNull();
  await connected.connection.sendNotification("exit");
  expect(await connected.closed).toBe(0);
});
