"""Rules about what cannot be undone: deletes, disks, the machine itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.agents.security.shell.follow import Follower
from models.agents.security.shell.options import Arguments, parsed
from models.agents.security.shell.paths import absolute, is_disk, is_vital, takes_hold
from models.agents.security.shell.values import GAP, Text
from models.agents.security.shell.vocabulary import names


def check(follower: Follower, name: str, rest: list[Text], _stdin: Text) -> None:
    """Note what a program would destroy."""
    for rule in _RULES.get(name, ()):
        rule(follower, name, rest)
    if name.startswith(tuple(names("formatters"))):
        high = any(is_disk(word.text) for word in rest)
        high |= name.startswith(("mkfs", "wipefs", "blkdiscard"))
        follower.findings.add(
            "high" if high else "medium", "disk", f"{name} rewrites a disk", follower.where
        )
    if name in names("stoppers"):
        follower.findings.add("high", "stop", f"{name} stops the machine", follower.where)
    if name in names("kernel"):
        follower.findings.add("high", "kernel", f"{name} changes the kernel", follower.where)
    if name in names("accounts"):
        follower.findings.add("high", "accounts", f"{name} changes who may log in", follower.where)


def _delete(follower: Follower, name: str, rest: Sequence[Text]) -> None:
    given = parsed(rest)
    if not given.has("r", "R", "recursive", "no-preserve-root") and name == "rm":
        _judge(follower, [w for w in given.operands if w.text.rstrip("*").endswith("/")], name)
        for word in given.operands:
            _system_file(follower, word)
        return
    _judge(follower, given.operands, name)


def _judge(follower: Follower, paths: Sequence[Text], name: str) -> None:
    for path in paths:
        if is_vital(path.text, follower.known.folder):
            follower.findings.add(
                "high",
                "vital-delete",
                f"{name} of {absolute(path.text, follower.known.folder).replace(GAP, '…')} with "
                "all below it",
                follower.where,
            )
        elif GAP in path.text or GAP in follower.known.folder:
            follower.findings.add(
                "medium",
                "unknown-delete",
                f"{name} of a path that is only known when it runs",
                follower.where,
            )
        elif absolute(path.text, follower.known.folder).startswith(("/", "~", "..")):
            follower.findings.add(
                "medium", "outside-delete", f"{name} outside the workspace", follower.where
            )


def _system_file(follower: Follower, path: Text) -> None:
    place = absolute(path.text, follower.known.folder)
    if is_disk(place):
        follower.findings.add("high", "disk", f"writes to the raw disk {place}", follower.where)
    elif takes_hold(place):
        follower.findings.add(
            "high", "takes-hold", f"changes {place}: it runs later or lets in", follower.where
        )
    elif place.startswith("/") and is_vital(place) and not place.startswith("/dev/"):
        follower.findings.add("high", "system-file", f"changes {place}", follower.where)
    elif place.startswith(("/", "~", "..")) and not place.startswith(("/tmp/", "/dev/")):
        follower.findings.add(
            "medium", "outside-write", f"writes outside the workspace: {place}", follower.where
        )


def _write(follower: Follower, _name: str, rest: Sequence[Text]) -> None:
    for word in rest:
        _system_file(follower, word)


def _last_operand(follower: Follower, _name: str, rest: Sequence[Text]) -> None:
    operands = parsed(rest, ("t", "target-directory", "m", "o", "g", "S", "s")).operands
    if operands:
        _system_file(follower, operands[-1])


def _move(follower: Follower, name: str, rest: Sequence[Text]) -> None:
    operands = parsed(rest, ("t", "S")).operands
    _judge(follower, operands[:-1], name)


def _dd(follower: Follower, _name: str, rest: Sequence[Text]) -> None:
    for word in rest:
        if word.text.startswith("of="):
            _system_file(follower, Text(word.text[3:], word.origins))


def _recursive(follower: Follower, name: str, rest: Sequence[Text]) -> None:
    given: Arguments = parsed(rest)
    targets = given.operands[1:]
    if given.has("R", "recursive", "r"):
        _judge(follower, targets, f"{name} -R")
    for word in targets:
        place = absolute(word.text, follower.known.folder)
        if takes_hold(place):
            follower.findings.add("high", "takes-hold", f"{name} of {place}", follower.where)
    if name == "chmod" and given.operands and _sets_uid(given.operands[0].text):
        follower.findings.add("high", "setuid", "makes a program run as its owner", follower.where)


def _sets_uid(mode: str) -> bool:
    return ("+" in mode and "s" in mode) or (
        mode.isdigit() and len(mode) == 4 and mode[0] in "4267"
    )


def _kill(follower: Follower, name: str, rest: Sequence[Text]) -> None:
    words = [word.text for word in rest]
    if (name == "kill" and "-1" in words[1:]) or "1" in words:
        follower.findings.add("high", "kill-all", "kills every process", follower.where)
    else:
        follower.findings.add("medium", "kill", "ends processes", follower.where)


def _git(follower: Follower, _name: str, rest: Sequence[Text]) -> None:
    given = parsed(rest, ("C", "c", "git-dir", "work-tree"))
    verb = given.operands[0].text if given.operands else ""
    operands = given.operands[1:]
    forced = given.has("f", "force", "force-with-lease", "mirror", "delete", "d")
    forced = forced or any(word.text.startswith(("+", ":")) for word in operands)
    if verb == "push" and forced:
        follower.findings.add("high", "history", "overwrites published history", follower.where)
    elif (verb == "clean" and given.has("f", "force")) or (verb == "reset" and given.has("hard")):
        follower.findings.add("medium", "discard", "throws away work of others", follower.where)
    elif verb in ("push", "clone", "fetch", "pull"):
        follower.findings.add("medium", "network", f"git {verb} uses the network", follower.where)


def _firewall(follower: Follower, name: str, rest: Sequence[Text]) -> None:
    given = parsed(rest)
    if given.has("F", "flush", "X", "P") or name in ("ufw", "nft"):
        follower.findings.add("high", "firewall", "opens the firewall", follower.where)


def _containers(follower: Follower, name: str, rest: Sequence[Text]) -> None:
    words = [word.text for word in rest]
    whole = any(
        text.split(":")[0] in ("/", "/var/run/docker.sock", "/run/docker.sock") and ":" in text
        for text in (word.split("=")[-1] for word in words)
    )
    if whole or {"--privileged", "--pid=host"} & set(words):
        follower.findings.add("high", "breakout", "a container that owns the host", follower.where)
    if "prune" in words and "system" in words:
        follower.findings.add("medium", "discard", f"{name} system prune", follower.where)


def _schedule(follower: Follower, name: str, rest: Sequence[Text]) -> None:
    words = [word.text for word in rest]
    if name == "crontab" and "-l" not in words:
        follower.findings.add("high", "takes-hold", "changes what runs by itself", follower.where)
    if name == "systemctl" and {"enable", "mask", "disable"} & set(words):
        follower.findings.add("high", "takes-hold", "changes what starts by itself", follower.where)


_Rule = Callable[[Follower, str, Sequence[Text]], None]
_RULES: dict[str, tuple[_Rule, ...]] = {
    "rm": (_delete,), "rmdir": (), "unlink": (_write,), "shred": (_write, _delete),
    "srm": (_delete,), "trash": (_delete,), "truncate": (_write,), ">": (_write,), "tee": (_write,),
    "dd": (_dd,), "cp": (_last_operand,), "install": (_last_operand,), "ln": (_last_operand,),
    "mv": (_move, _last_operand), "chmod": (_recursive,), "chown": (_recursive,),
    "chgrp": (_recursive,), "chattr": (_recursive,), "setfacl": (_recursive,), "kill": (_kill,),
    "pkill": (_kill,), "killall": (_kill,), "git": (_git,), "iptables": (_firewall,),
    "ip6tables": (_firewall,), "nft": (_firewall,), "ufw": (_firewall,), "docker": (_containers,),
    "podman": (_containers,), "nerdctl": (_containers,), "crontab": (_schedule,),
    "systemctl": (_schedule,),
}  # fmt: skip
