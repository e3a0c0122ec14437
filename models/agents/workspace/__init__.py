"""Where tools work: a folder and the sandbox over it.

base.py the protocol    folder.py LocalWorkspace, SandboxWorkspace
"""

from models.agents.workspace.base import Workspace
from models.agents.workspace.folder import LocalWorkspace, SandboxWorkspace

__all__ = ["LocalWorkspace", "SandboxWorkspace", "Workspace"]
