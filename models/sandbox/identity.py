"""A user of the sandbox's own, when we are root.

A process of root's, even one without rights in its own user namespace, still owns what root
owns, and the kernel exempts it from the limit on processes. So as root the sandbox is started
by a user that nothing else on the host has, and the workspace is mounted for it with changed
owners: inside its files belong to that user, outside to whom they belonged.

Source: Linux, Documentation/filesystems/idmappings.rst.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.sandbox.base import SandboxUnavailableError
from models.sandbox.kernel import attach_tree, become, mount, open_tree, private_mounts

_FIRST_FREE_ID = 0x70000000
"""Above systemd's container range (up to 0x6FFFFFFF); process numbers are added to it."""

STAGE = "/tmp"
"""Where mounts are gathered; the thread that does it sees a /tmp of its own from then on."""


@dataclass(frozen=True)
class Shown:
    """A path of the host that the sandbox's user is to reach.

    Attributes:
        source: Where it is.
        name: Below the stage.
        owned: Whether its files are to belong to that user; otherwise owners stay.
    """

    source: Path
    name: str
    owned: bool = False

    @property
    def staged(self) -> str:
        """Where the sandbox's user finds it."""
        return f"{STAGE}/{self.name}"


def own_id() -> int:
    """The number of the user, a different one for each process of ours."""
    return _FIRST_FREE_ID + os.getpid()


@lru_cache
def mapping(uid: int, gid: int, pid: int) -> int:
    """Return a user namespace whose mapping turns an owner into the sandbox's user.

    Args:
        uid: Owner on disk.
        gid: Group on disk.
        pid: Of this process: a fork needs its own.

    Raises:
        SandboxUnavailableError: This host makes none.
    """
    program = shutil.which("unshare")
    if program is None:
        raise SandboxUnavailableError("the program `unshare` (util-linux) is not here")
    words = [program, "--user", "/bin/sh", "-c", "echo; exec cat"]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={})
    try:
        if holder.stdout is None or not holder.stdout.readline():
            raise SandboxUnavailableError("user namespaces are refused")
        proc = Path(f"/proc/{holder.pid}")
        own = own_id()
        (proc / "uid_map").write_text(f"{uid} {own} 1")
        (proc / "gid_map").write_text(f"{gid} {own} 1")
        return os.open(proc / "ns" / "user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxUnavailableError(f"a user mapping is refused: {error.strerror}") from error
    finally:
        holder.communicate()


def mapping_for(folder: Path) -> int:
    """Return the mapping for the owner of a folder."""
    found = folder.stat()
    return mapping(found.st_uid, found.st_gid, os.getpid())


def stage_and_become(shown: Sequence[Shown]) -> None:
    """Gather paths where the sandbox's user reaches them and turn the thread into that user.

    Raises:
        OSError: The kernel or a file system refuses changed owners.
    """
    # Looked up before: only this thread is going to lose the way to the paths.
    maps = {item.name: mapping_for(item.source) for item in shown if item.owned}
    private_mounts()
    trees = [(item, open_tree(str(item.source), maps.get(item.name))) for item in shown]
    mount("loom", STAGE, "tmpfs", data="mode=755,size=64k")
    for item, tree in trees:
        target = Path(item.staged)
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        attach_tree(tree, item.staged)
    os.chdir("/")
    become(own_id(), own_id())
