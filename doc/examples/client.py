#!/usr/bin/env python3
"""A client of moctl's JSON-RPC server that needs nothing but Python: client.py CONFIG [MOCTL]

It makes a volume, says what it was told of it, and drops it again. The protocol is in doc/rpc.txt.
"""

import json
import subprocess
import sys


class CallFailed(Exception):
    """The error of an answer. Its message is for people; `code` is one of moctl.txt and decides."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["data"]["code"]
        self.retryable = error["data"]["retryable"]
        self.details = error["data"]["details"]


class Client:
    """A server of its own, which ends with it. One call at a time."""

    def __init__(self, *command):
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.calls = 0
        self.events = []

    def call(self, method, **params):
        """Gives the result of a call. Events that come before it are kept in `events`."""
        self.calls += 1
        request = {"jsonrpc": "2.0", "id": self.calls, "method": method, "params": params}
        self.server.stdin.write(json.dumps(request).encode() + b"\n")
        self.server.stdin.flush()
        while True:
            message = self.receive()
            if "error" in message:
                raise CallFailed(message["error"])
            if "result" in message:
                return message["result"]

    def next_event(self):
        """Gives the next event of a subscription; waits for it."""
        while not self.events:
            self.receive()
        return self.events.pop(0)

    def receive(self):
        line = self.server.stdout.readline()
        if not line:
            raise EOFError(f"the server ended with status {self.server.wait()}")
        message = json.loads(line)
        if message.get("method") == "$/event":
            self.events.append(message["params"])
        return message

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        # The end of the input: what is at work ends, and then the server.
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()


def main(config, moctl="moctl"):
    with Client(moctl, config, "rpc") as client:
        client.call("events.subscribe", types=["created", "dropped"])
        volume = client.call("volume.create", volume="example", kind="fs", sizeBytes=64 * 1024**2)
        print("created:", volume["name"], volume["sizeBytes"])
        event = client.next_event()
        print("event:", event["type"], event["data"]["volume"])
        try:
            client.call("volume.create", volume="example", kind="disk", sizeBytes=64 * 1024**2)
        except CallFailed as failure:
            print("failed:", failure.code, sorted(failure.details["diff"]))
        print("dropped:", client.call("volume.drop", volume="example")["changed"])
        print("dropped again:", client.call("volume.drop", volume="example")["changed"])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.splitlines()[0])
    main(*sys.argv[1:])
