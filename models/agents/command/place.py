"""The folder that an agent is sent to: one that is misspelt must not be made in silence."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from models.errors import ConfigError


def remark_on(workspace: str) -> str:
    """Return what to say about a workspace that is not there and will be made; empty: it is there.

    Args:
        workspace: A path as `AgentSpec.workspace` has it.

    Raises:
        ConfigError: It is no folder, or the folder that it would be made in is not there either,
            which is a slip of the pen more often than a wish.
    """
    path = Path(workspace).expanduser().absolute()
    if path.is_dir():
        return ""
    if path.exists():
        raise ConfigError(f"workspace {path} is a file; name a folder")
    if not path.parent.is_dir():
        raise ConfigError(
            f"workspace {path} is not there, and {path.parent} is not either; check the spelling, "
            f"or make it first: mkdir -p {path}"
        )
    folders = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    near = get_close_matches(path.name, folders, n=1)
    hint = f"; did you mean {path.parent / near[0]}?" if near else ""
    return f"workspace {path} was not there: it is new and empty{hint}"
