"""Where tools work: a folder and the sandbox over it.

base.py the protocols    folder.py LocalWorkspace, SandboxWorkspace, OverlayWorkspace
Those on servers and in containers: models.agents.remote.
"""

from models.agents.workspace.base import Elsewhere, Workspace
from models.agents.workspace.folder import LocalWorkspace, OverlayWorkspace, SandboxWorkspace

__all__ = ["Elsewhere", "LocalWorkspace", "OverlayWorkspace", "SandboxWorkspace", "Workspace"]
