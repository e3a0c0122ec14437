"""Programs beside a conversation, in its workspace and behind its walls, for people to look at.

base.py  what such a program is        ide.py, desktop.py  VS Code, a screen
pane.py  one that runs                 panes.py  all of a server, each at a port of its own
door.py  who may come in at that port  forward.py  HTTP and WebSocket to a Unix socket
routes.py  list, open, end             pictures.py  the agent's browser, watched live
"""

from __future__ import annotations
