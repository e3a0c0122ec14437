"""Places that no command should destroy, and places that hold secrets."""

from __future__ import annotations

import posixpath
import re

from models.agents.security.shell.values import GAP
from models.agents.security.shell.vocabulary import names

HOME = "~"

_DISK = re.compile(
    r"/dev/(sd[a-z]|hd[a-z]|vd[a-z]|xvd[a-z]|nvme\d|mmcblk\d|disk\d|rdisk\d|md\d|dm-\d|mapper/|"
    r"loop\d|mem$|kmem$|sd\*|disk/)"
)
_OWN = ("/var/tmp", "/usr/local", "/dev/shm", "/root", "/var/www", "/var/lib/docker/volumes")
"""Below these, single folders are someone's own."""
_GLOB = re.compile(r"[*?\[]")
_DEEP_UP = 4

_SECRET = re.compile(
    r"(^|/)(\.ssh(/|$)|\.aws(/|$)|\.gnupg(/|$)|\.kube/config|\.netrc$|\.pgpass$|\.npmrc$|"
    r"\.pypirc$|\.git-credentials$|\.docker/config\.json|\.config/gcloud|\.env(\.[\w.]+)?$|"
    r"id_(rsa|dsa|ecdsa|ed25519)$|credentials(\.json)?$|.*\.(pem|p12|pfx)$)"
    r"|^/etc/(shadow|gshadow|sudoers)|^/proc/(self|\d+)/environ"
)
_TAKES_HOLD = re.compile(
    r"(^|/)\.ssh/(authorized_keys|config|rc)$|(^|/)\.(bash|zsh)(rc|_profile|_login|_logout|env)$|"
    r"(^|/)\.(profile|zprofile|xprofile)$|(^|/)\.config/(autostart|systemd)/|"
    r"^/etc/(cron|profile|rc\.local|ld\.so|sudoers|passwd|shadow|group|pam|systemd|init|hosts$|"
    r"ssh/|bash\.bashrc|environment)|^/var/spool/cron|^/(usr/)?lib/systemd/|(^|/)\.git/hooks/"
)


def absolute(path: str, folder: str) -> str:
    """Return a path as seen from a folder (`.`: the workspace), without `.` and `..`."""
    if path == HOME or path.startswith(HOME + "/"):
        return path.rstrip("/") if len(path) > 1 else path
    if not path.startswith("/"):
        path = posixpath.join(folder, path)
    # normpath keeps two leading slashes, as POSIX lets them differ.
    found = posixpath.normpath(path)
    return "/" + found.lstrip("/") if found.startswith("/") else found


def is_vital(path: str, folder: str = ".") -> bool:
    """Whether the loss of a path with all below it is the loss of a machine or a home."""
    place = absolute(path, folder)
    if place.count("..") >= _DEEP_UP:
        return True
    if place == HOME or re.fullmatch(r"~\w*(/[*.]\*?)?", place):
        return True
    if not place.startswith("/"):
        return False
    parts = [part for part in place.split("/") if part and part != GAP]
    while parts and re.fullmatch(r"[*.?]+|\.\[\^\.\]\*", parts[-1]):
        parts.pop()
    if not parts:
        return True  # a part that is not known may be empty
    first = parts[0]
    if _GLOB.search(first):
        return True
    if len(parts) == 1:
        return first in names("system_folders") | names("top_folders")
    if first in ("home", "Users"):
        return len(parts) == 2
    base = "/" + "/".join(parts)
    if any(base.startswith(own + "/") for own in _OWN):
        return False
    return first in names("system_folders")


def is_disk(path: str) -> bool:
    """Whether a path is a raw disk or memory."""
    return bool(_DISK.match(absolute(path, "/")))


def is_secret(path: str) -> bool:
    """Whether a path usually holds credentials."""
    return bool(_SECRET.search(path))


def takes_hold(path: str, folder: str = ".") -> bool:
    """Whether what is written there runs again later, or lets somebody in."""
    return bool(_TAKES_HOLD.search(absolute(path, folder)))
