"""A server that does badly what can be done badly: plain Python, the older protocol, quick."""

import json
import os
import signal
import subprocess
import sys
import time

SCHEMAS = {
    "say": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"],
            "additionalProperties": False},
}  # fmt: skip
TOOLS = ["say", "environment", "long", "huge", "hang", "slow", "die", "litter", "spawn", "learn",
         "ask_roots", "surrogate", "deep", "latin"]  # fmt: skip

WRONG = {
    "surrogate": rb'{"type":"text","text":"half \ud83d"}',
    "deep": b"[" * 90_000 + b"]" * 90_000,
    "latin": b'{"type":"text","text":"caf\xe9"}',
}


def send(**message):
    os.write(1, json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def call(name, arguments):
    if name == "say":
        return arguments["text"]
    if name == "environment":
        return json.dumps(dict(os.environ))
    if name == "long":
        return "head" + "x" * 100_000 + "tail"
    if name == "huge":
        piece = b"y" * 1024**2
        while True:
            os.write(1, piece)
    if name == "hang":
        os.kill(os.getpid(), signal.SIGSTOP)
    if name == "slow":
        time.sleep(20)
    if name == "die":
        print("out of sausages", file=sys.stderr, flush=True)
        os._exit(7)
    if name == "litter":
        os.write(1, b"Listening on port 8080\n{}\n\xff\xfe\n[1, 2]\n")
    if name == "spawn":
        words = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
        return str(subprocess.Popen(words, start_new_session=True, stdout=2).pid)
    if name == "learn":
        TOOLS.append("shout")
        send(method="notifications/tools/list_changed")
    if name == "ask_roots":
        send(id="roots-1", method="roots/list")
        return json.loads(sys.stdin.readline())["result"]["roots"][0]["uri"]
    return f"{name} done"


def main():
    with open("starts", "a") as starts:
        starts.write(f"{os.getpid()}\n")
    if "broken" in sys.argv:
        sys.exit("cannot read my configuration")
    if "silent" in sys.argv:
        signal.pause()
    for line in sys.stdin:
        message = json.loads(line)
        method, number = message.get("method"), message.get("id")
        if method == "initialize":
            result = {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "rough", "version": "1"},
            }
            send(id=number, result=result)
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": SCHEMAS.get(name, {"type": "object"})}
                     for name in TOOLS]  # fmt: skip
            send(id=number, result={"tools": tools})
        elif method == "tools/call":
            name = message["params"]["name"]
            if name in WRONG:
                start = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[' % number
                os.write(1, start + WRONG[name] + b"]}}\n")
                continue
            text = call(message["params"]["name"], message["params"].get("arguments"))
            send(id=number, result={"content": [{"type": "text", "text": text}]})
        elif number is not None:
            send(id=number, error={"code": -32601, "message": "no such method"})


main()
