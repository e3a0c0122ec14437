"""Ways out by the file system."""

from __future__ import annotations

import os
import stat
from typing import Any


def read_outside(outside: dict[str, Any]) -> str:
    """Read a file of the host by its path."""
    with open(outside["secret"]) as file:
        return file.read()


def write_outside(outside: dict[str, Any]) -> str:
    """Write a file of the host by its path."""
    path = os.path.join(outside["folder"], "written")
    with open(path, "w") as file:
        file.write("x")
    return f"wrote {path}"


def read_by_dots(outside: dict[str, Any]) -> str:
    """Read a file of the host by a path full of `..`."""
    with open("../" * 30 + outside["secret"].lstrip("/")) as file:
        return file.read()


def read_by_symlink(outside: dict[str, Any]) -> str:
    """Read a file of the host through a symbolic link in the workspace."""
    os.symlink(outside["secret"], f"link-{os.getpid()}")
    with open(f"link-{os.getpid()}") as file:
        return file.read()


def hard_link_to_outside(outside: dict[str, Any]) -> str:
    """Give a file of the host a second name in the workspace."""
    os.link(outside["secret"], f"hard-{os.getpid()}")
    return "linked"


def move_out(outside: dict[str, Any]) -> str:
    """Move a file of the workspace to a folder of the host."""
    with open(f"moving-{os.getpid()}", "w"):
        pass
    os.rename(f"moving-{os.getpid()}", os.path.join(outside["folder"], "moved"))
    return "moved"


def list_outside(outside: dict[str, Any]) -> str:
    """List a folder of the host."""
    return str(os.listdir(outside["folder"]))


def root_of_process_1(outside: dict[str, Any]) -> str:
    """Reach the host's files through the root of process 1."""
    with open("/proc/1/root" + outside["secret"]) as file:
        return file.read()


def folder_of_a_process(outside: dict[str, Any]) -> str:
    """Reach the host's files through the working folder of one of its processes."""
    with open(f"/proc/{outside['victim']}/cwd/secret") as file:
        return file.read()


def password_hashes(outside: dict[str, Any]) -> str:
    """Read the host's password hashes."""
    with open("/etc/shadow") as file:
        return f"{len(file.read())} bytes of /etc/shadow"


def write_system(outside: dict[str, Any]) -> str:
    """Put a program among those of the system."""
    with open("/usr/bin/loom-escape", "w") as file:
        file.write("x")
    return "wrote to /usr/bin"


def write_configuration(outside: dict[str, Any]) -> str:
    """Change the host's configuration."""
    with open("/etc/loom-escape", "w") as file:
        file.write("x")
    return "wrote to /etc"


def write_root_folder(outside: dict[str, Any]) -> str:
    """Write beside the system's folders."""
    with open("/loom-escape", "w") as file:
        file.write("x")
    return "wrote to /"


def write_saved_outputs(outside: dict[str, Any]) -> str:
    """Change what was saved of earlier outputs."""
    path = os.path.join(outside["outputs"], "forged")
    with open(path, "w") as file:
        file.write("x")
    return f"wrote {path}"


def make_device(outside: dict[str, Any]) -> str:
    """Make a device file for the host's disk and open it."""
    name = f"disk-{os.getpid()}"
    os.mknod(name, stat.S_IFBLK | 0o600, os.makedev(*outside["disk"]))
    return "a device file"


def open_disk(outside: dict[str, Any]) -> str:
    """Read the host's disk below its file system."""
    with open(outside["disk_path"], "rb") as file:
        return f"read {len(file.read(512))} bytes"


def open_kernel_memory(outside: dict[str, Any]) -> str:
    """Read the kernel's memory."""
    with open("/proc/kcore", "rb") as file:
        return f"read {len(file.read(16))} bytes"


def kernel_settings(outside: dict[str, Any]) -> str:
    """Write a setting of the kernel (the value it has)."""
    with open("/proc/sys/kernel/core_pattern") as file:
        value = file.read()
    with open("/proc/sys/kernel/core_pattern", "w") as file:
        file.write(value)
    return "wrote core_pattern"


def any_kernel_file(outside: dict[str, Any]) -> str:
    """Open any file of the kernel's for writing; nothing is written."""
    opened = []
    for top in sorted(os.listdir("/proc")):
        if top.isdigit() or top in ("self", "thread-self"):
            continue
        for folder, _, names in os.walk(os.path.join("/proc", top)):
            for name in names:
                try:
                    os.close(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_NONBLOCK))
                except OSError:
                    continue
                opened.append(os.path.join(folder, name))
    for name in os.listdir("/proc"):
        try:
            if not os.path.isdir(f"/proc/{name}"):
                os.close(os.open(f"/proc/{name}", os.O_WRONLY | os.O_NONBLOCK))
                opened.append(name)
        except OSError:
            continue
    if not opened:
        raise PermissionError("no file of the kernel's opens for writing")
    return f"{len(opened)}: {', '.join(opened[:12])}"


def magic_key(outside: dict[str, Any]) -> str:
    """Open what can restart the machine; nothing is written."""
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "opened sysrq-trigger"


def kernel_objects(outside: dict[str, Any]) -> str:
    """Look at the kernel's objects and devices."""
    return str(os.listdir("/sys/kernel"))


def control_groups(outside: dict[str, Any]) -> str:
    """Look at the groups that limits hang on."""
    return str(os.listdir("/sys/fs/cgroup"))


def kernel_command_line(outside: dict[str, Any]) -> str:
    """Read how the host was started; addresses and tokens stand there on some."""
    with open("/proc/cmdline") as file:
        return file.read(40)


def set_user_id_file(outside: dict[str, Any]) -> str:
    """Leave a program that runs as its owner for whoever starts it on the host."""
    name = f"suid-{os.getpid()}"
    with open(name, "w"):
        pass
    os.chmod(name, 0o4755)
    return "set the bit by chmod"


def set_user_id_at_birth(outside: dict[str, Any]) -> str:
    """Make a file that has the bit from its beginning."""
    os.umask(0)
    os.close(os.open(f"born-{os.getpid()}", os.O_CREAT | os.O_WRONLY, 0o4755))
    if not os.stat(f"born-{os.getpid()}").st_mode & stat.S_ISUID:
        raise PermissionError("the bit was dropped")
    return "set the bit by open"


def file_capability(outside: dict[str, Any]) -> str:
    """Give a program a right of root by an attribute of its file."""
    name = f"capable-{os.getpid()}"
    with open(name, "w"):
        pass
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(name, "security.capability", value)
    return "set a capability"


def change_root(outside: dict[str, Any]) -> str:
    """Change the root folder, the first step of a known way out of it."""
    os.chroot(".")
    return "changed the root"
