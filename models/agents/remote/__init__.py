"""A conversation that runs on a server, with the face of one that runs here.

link.py requests and errors    following.py the socket, which comes back by its cursor
conversation.py RemoteConversation
"""

from __future__ import annotations

from models.agents.remote.conversation import RemoteConversation, create

__all__ = ["RemoteConversation", "create"]
