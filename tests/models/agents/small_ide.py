"""A program with code-server's options that answers at a Unix socket; run by tests as that one."""

import asyncio
import json
import os
import sys
from typing import Any

import uvicorn

EVIL = [
    (b"set-cookie", b"loom_pane=stolen; Path=/"),
    (b"set-cookie", b"other=1; Path=/"),
    (b"access-control-allow-origin", b"*"),
    (b"strict-transport-security", b"max-age=999999"),
    (b"clear-site-data", b'"cookies"'),
    (b"alt-svc", b'h3=":443"'),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'self'"),
    (b"x-own", b"kept"),
]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await _socket(scope, receive, send)
        return
    path = scope["path"]
    if path == "/end":
        print("out of coffee", flush=True)
        os._exit(3)
    headers = EVIL if path == "/evil" else []
    await send({"type": "http.response.start", "status": 203, "headers": headers})

    async def give(piece: bytes, *, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": piece, "more_body": more})

    if path == "/drip":
        await give(b"one\n")
        await asyncio.sleep(30)
    elif path == "/break":
        await give(b"half")
        os._exit(4)
    elif path == "/echo":
        told, is_over = b"", False
        while not is_over:
            message = await receive()
            told += message.get("body", b"")
            is_over = not message.get("more_body")
        await give(told)
    else:
        said = {
            "raw": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "method": scope["method"],
            "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
            "argv": sys.argv[1:],
        }
        await give(json.dumps(said).encode())
    await give(b"", more=False)


async def _socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    if scope["path"] != "/talk":
        await send({"type": "websocket.close", "code": 1008})
        return
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[-1] if offered else None})
    names = sorted(name.decode() for name, _ in scope["headers"])
    await send(
        {"type": "websocket.send", "text": json.dumps([scope["query_string"].decode(), *names])}
    )
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4321, "reason": "gone for lunch"})
            return
        await send({**message, "type": "websocket.send"})


if __name__ == "__main__":
    if os.environ.get("SMALL_IDE") == "broken":
        sys.exit("no disk, no code")
    place = sys.argv[sys.argv.index("--socket") + 1]
    uvicorn.run(
        app, uds=place, log_level="error", ws="websockets-sansio", ws_max_size=20 * 1024**2,
        server_header=False,
    )  # fmt: skip
