"""Servers of the Model Context Protocol: their tools for our agents, our tools for others.

spec.py       how a server is declared       values.py   secrets in what was declared
connection.py one live connection            stdio.py, web.py  over a process, over HTTP
link.py       a server that comes and goes   hub.py      all of a conversation
tool.py       a tool of a server, as ours    results.py  what it answered
serve.py      our tools, served
The SDK (`mcp`) is imported when the first server is needed. Source: modelcontextprotocol.io,
revisions 2025-11-25 and 2026-07-28.
"""

from __future__ import annotations

from models.agents.mcp.spec import McpServer, read_servers

__all__ = ["McpServer", "read_servers"]
