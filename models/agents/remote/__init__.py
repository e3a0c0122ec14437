"""A conversation that runs on a server, with the face of one that runs here.

link.py requests and errors    following.py the socket, which comes back by its cursor
conversation.py RemoteConversation     workspace.py RemoteWorkspace, DockerWorkspace
"""

from __future__ import annotations

from models.agents.remote.conversation import RemoteConversation, create
from models.agents.remote.workspace import DockerWorkspace, RemoteWorkspace

__all__ = ["DockerWorkspace", "RemoteConversation", "RemoteWorkspace", "create"]
