"""What a sandbox sees of the host, as arguments of bubblewrap."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from models.sandbox.identity import Shown

HOME = "/home/agent"
INNER_ID = 1000
HOST_NAME = "sandbox"

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types",
        "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "python3", "python3.11", "perl",
        "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "magic", "inputrc", "terminfo",
        "protocols", "services", "gai.conf", "debian_version", "os-release")  # fmt: skip
"""Configuration that programs need to run; all else in /etc may hold secrets."""

_MASKED = ("cmdline", "config.gz", "interrupts", "iomem", "kallsyms", "kcore", "key-users", "keys",
           "kmsg", "kpagecount", "kpageflags", "latency_stats", "modules", "sched_debug",
           "sysrq-trigger", "timer_list", "vmallocinfo")  # fmt: skip
"""Files of /proc that tell of the host or its kernel."""
_READ_ONLY = ("sys", "irq", "bus", "fs", "driver", "dynamic_debug", "pressure")
"""Folders of /proc whose files belong to root: where we run as root without rights, without a user
of our own, they could be written, and `sys/kernel/core_pattern` names a program that the kernel
runs as the host's root."""
_MASKED_FOLDERS = ("acpi", "scsi")

_FILES = {
    "/etc/passwd": f"root:x:0:0:root:/root:/bin/sh\n"
    f"agent:x:{INNER_ID}:{INNER_ID}:agent:{HOME}:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": f"root:x:0:\nagent:x:{INNER_ID}:\nnogroup:x:65534:\n",
    "/etc/hosts": f"127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n",
    "/etc/resolv.conf": "",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


class Mounts:
    """Turns paths of the host into sources that bubblewrap can reach.

    Args:
        staged: Whether bubblewrap runs as the sandbox's own user, for whom paths are gathered.
    """

    def __init__(self, staged: bool) -> None:
        self.staged = staged
        self.shown: list[Shown] = []
        self.data = [(place, text.encode()) for place, text in _FILES.items()]

    def seen(self, path: Path, *, owned: bool = False) -> str:
        """Return the source of a path that is to be seen."""
        if not self.staged:
            return str(path)
        item = Shown(path, f"p{len(self.shown)}", owned)
        self.shown.append(item)
        return item.staged

    def owned(self, path: Path) -> str:
        """Return the source of a path whose files belong to the sandbox's user inside."""
        return self.seen(path, owned=True)

    def program(self, bwrap: Path) -> str:
        """Return where bubblewrap itself is found, with the library that its package brings."""
        if not self.staged or bwrap.is_relative_to("/usr"):
            return str(bwrap)
        package = bwrap.parent.parent
        libraries = package.with_name(f"{package.name}.libs")
        for folder in filter(Path.is_dir, (package, libraries)):
            self.shown.append(Shown(folder, folder.name))
        return f"{Shown(package, package.name).staged}/{bwrap.parent.name}/{bwrap.name}"


@lru_cache
def _fixed() -> tuple[str, ...]:
    """Arguments that are the same for every sandbox of this host."""
    words = [
        "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
        "--unshare-cgroup-try", "--disable-userns", "--die-with-parent",
        "--uid", str(INNER_ID), "--gid", str(INNER_ID), "--hostname", HOST_NAME,
    ]  # fmt: skip
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            words += ["--ro-bind", name, name]
    for name in _ETC:
        if Path("/etc", name).exists():
            words += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    words += ["--proc", "/proc"]
    for name in _READ_ONLY:
        if Path("/proc", name).is_dir():
            words += ["--ro-bind", f"/proc/{name}", f"/proc/{name}"]
    for name in _MASKED:
        if Path("/proc", name).exists():
            words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    for name in _MASKED_FOLDERS:
        if Path("/proc", name).is_dir():
            words += ["--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    return (*words, "--dev", "/dev")


def system_arguments(tmp_bytes: int) -> list[str]:
    """Return the arguments for all but the workspace.

    Args:
        tmp_bytes: Size of each temporary folder.
    """
    words = [*_fixed()]
    for place in ("/tmp", "/var/tmp", "/dev/shm", HOME):
        words += ["--perms", "0700" if place == HOME else "1777",
                  "--size", str(tmp_bytes), "--tmpfs", place]  # fmt: skip
    # What is left of /dev is a file system in memory without a limit of its own.
    return [*words, "--dir", "/run", "--remount-ro", "/dev"]
