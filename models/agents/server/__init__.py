"""Conversations over HTTP and WebSocket. `serve` runs a server, `make_app` makes its application.

config.py  what it is told             app.py, state.py  the application, its parts
process.py, __main__.py  serve         auth.py, middleware.py  keys, tokens, pages of others
failures.py  errors as answers         live.py, hub.py, runs.py  what is open, watched, under way
workers.py  threads                    bodies.py, listing.py  what requests say, pages of lists
conversations.py, steering.py, events.py, files.py, commands.py, sockets.py, terminals.py  routes
panes/  programs beside a conversation  either.py  both directions of a connection
bench.py  figures
"""

from __future__ import annotations

from models.agents.server.config import ServerConfig
from models.agents.server.process import serve

__all__ = ["ServerConfig", "serve"]
