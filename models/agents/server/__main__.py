"""`python -m models.agents.server`: a server from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from models.agents.mcp.spec import read_servers
from models.agents.server.auth import find_key
from models.agents.server.config import server_config
from models.agents.server.process import serve
from models.errors import ProjectError

_MANY = {
    "root": "roots",
    "tool": "tools",
    "analyzer": "analyzers",
    "model": "models",
    "allow-origin": "origins",
    "allow-host": "hosts",
    "private-host": "private_hosts",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; the address is the first line of the output."""
    parser = argparse.ArgumentParser(description="Conversations over HTTP and WebSocket.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--key-file", type=Path, default=None)
    parser.add_argument("--mcp", type=Path, default=None)
    parser.add_argument("--allow-local", action="store_true")
    parser.add_argument("--durability", default="group")
    parser.add_argument("--most-runs", type=int, default=16)
    parser.add_argument("--most-open", type=int, default=128)
    parser.add_argument("--most-panes", type=int, default=4)
    parser.add_argument("--panes-port", type=int, default=0)
    parser.add_argument("--pane-idle-s", type=float, default=900.0)
    parser.add_argument("--heartbeat-s", type=float, default=15.0)
    parser.add_argument("--patience-s", type=float, default=30.0)
    parser.add_argument("--backlog", type=int, default=1_024)
    parser.add_argument("--upload-bytes", type=int, default=1024**3)
    parser.add_argument("--on-restart", default="mark")
    for name, field in _MANY.items():
        parser.add_argument(f"--{name}", dest=field, action="append", default=[])
    asked = vars(parser.parse_args(arguments))
    file, servers = asked.pop("key_file"), asked.pop("mcp")
    try:
        asked["mcp"] = read_servers(servers) if servers else {}
        serve(server_config(**asked), find_key(file), lambda url: print(url, flush=True))
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
