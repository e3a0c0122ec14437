"""The folder that an agent is sent to: one that is misspelt must not be made in silence."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from models.errors import ConfigError

MAKE = "have it made: --make-workspace"
"""The way out that the command line has."""


def check_place(
    workspace: str, *, may_make: bool = False, way_out: str = MAKE, what: str = "workspace"
) -> None:
    """Check that a workspace is there, or may be made when it is opened.

    Args:
        workspace: A path as `AgentSpec.workspace` has it.
        may_make: Whether somebody asked for a new folder.
        way_out: How to ask for one.
        what: What the folder is, for messages.

    Raises:
        ConfigError: It is no folder, or not there, which is a slip of the pen more often than a
            wish; names the folder that may be meant.
    """
    path = Path(workspace).expanduser().absolute()
    if path.is_dir():
        return
    if path.exists():
        raise ConfigError(f"{what} {path} is a file; name a folder")
    if not may_make:
        raise ConfigError(
            f"{what} {path} is not there{_near(path)}; check the spelling, or {way_out}"
        )


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f", and {path.parent} is not either"
    folders = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    near = get_close_matches(path.name, folders, n=1)
    return f" (did you mean {path.parent / near[0]}?)" if near else ""
