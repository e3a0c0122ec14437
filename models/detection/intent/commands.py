"""What a call does, judged by its name and, where it runs a command line, by that."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from functools import lru_cache

from models.detection.intent.actions import Action, of_tool, of_words, strongest
from models.detection.intent.words import name_words, words
from models.detection.session import ToolCall

_SHELLS = frozenset((
    "bash", "shell", "terminal", "sh", "zsh", "exec", "cmd", "command", "commands", "powershell",
    "console",
))  # fmt: skip
"""A tool with one of these in its name runs command lines."""
_ARGUMENTS = ("command", "cmd", "script", "code", "input")
_LONGEST = 8_000
"""Characters of a command line that are looked at."""

# One line per meaning, as verbs of intent.words. What stands in none of them is run.
_PROGRAM_LINES = """
read: cat ls ll head tail less more grep rg egrep fgrep zgrep find fd locate wc diff cmp stat file
  du df ps top env printenv which whereis whoami id pwd tree jq yq sed awk cut sort uniq echo printf
  type history date uname hostname lsof netstat ss xxd od strings base64 md5sum sha256sum column nl
  basename dirname realpath readlink test true false cd pushd popd export set source sleep
  get-content gci dir
send: scp rsync sftp ftp nc ncat netcat telnet mail mailx sendmail mutt gsutil s3cmd rclone
delete: rm rmdir shred unlink truncate dropdb wipefs del remove-item
create: touch mkdir cp tee dd ln install unzip tar gunzip
update: mv chmod chown chgrp patch usermod chpasswd passwd crontab
"""
# Programs of many commands: what their first word means.
_SUBCOMMANDS = {
    "git": {
        "read": "status log diff show blame grep branch ls-files rev-parse describe remote stash "
        "fetch config shortlog reflog worktree tag",
        "send": "push send-email", "create": "commit add init clone apply am cherry-pick merge",
        "delete": "rm clean reset", "update": "checkout switch restore rebase revert pull mv",
    },
    "kubectl": {"read": "get describe logs top explain config diff", "delete": "delete drain",
                "create": "apply create run expose",
                "update": "scale patch edit set rollout label"},
    "docker": {"read": "ps images logs inspect stats version info", "send": "push login",
               "delete": "rm rmi prune kill"},
    "gh": {"read": "view list status diff checks", "send": "comment", "create": "create",
           "delete": "delete"},
    "aws": {"read": "ls describe get list", "send": "cp sync mv", "delete": "rm delete rb"},
    "npm": {"read": "ls view outdated audit", "send": "publish", "delete": "uninstall unpublish"},
    "pip": {"read": "list show freeze check", "delete": "uninstall"},
    "twine": {"send": "upload"}, "cargo": {"send": "publish"}, "helm": {"delete": "uninstall"},
    "terraform": {"read": "plan show output state", "delete": "destroy", "update": "apply"},
    "systemctl": {"read": "status list-units", "delete": "stop disable"},
}  # fmt: skip
_ALSO = {"pip3": "pip", "pnpm": "npm", "yarn": "npm", "podman": "docker", "oc": "kubectl"}
_WRAPPERS = frozenset((
    "sudo", "env", "time", "nohup", "timeout", "xargs", "nice", "command", "exec", "doas",
    "stdbuf",
))  # fmt: skip
_SPLIT = re.compile(r"\|\||&&|[;|&\n]")
_SENDS = re.compile(
    r"(?:^|\s)(?:-d|-F|-T|--data[\w-]*|--form|--upload-file|--post-(?:data|file)|--body-file"
    r"|-X\s*(?:POST|PUT|PATCH|DELETE)|--request[ =](?:POST|PUT|PATCH|DELETE))"
)
_REDIRECT = re.compile(r"(?<![0-9&<>])>{1,2}\s*(?!/dev/null|&)\S")
_SQL = re.compile(r"\b(?:drop|truncate|delete\s+from)\b", re.I)
_SQL_WRITES = re.compile(r"\b(?:insert\s+into|update\s+\w+\s+set|alter\s+table|grant)\b", re.I)
_SQL_PROGRAMS = frozenset((
    "psql", "mysql", "mariadb", "sqlite3", "sqlcmd", "mongosh", "mongo", "redis-cli", "clickhouse",
))  # fmt: skip


def _programs() -> dict[str, str]:
    lines = re.sub(r"\n\s+", " ", _PROGRAM_LINES).strip().splitlines()
    return {
        name: meaning for meaning, names in (one.split(": ") for one in lines)
        for name in names.split()
    }  # fmt: skip


_PROGRAMS = _programs()


def of_call(call: ToolCall) -> Action:
    """Return what a call does."""
    line = command_line(call)
    return of_tool(call.tool) if line is None else of_command(line)


def command_line(call: ToolCall) -> str | None:
    """Return the command line that a call runs; None: it runs none."""
    if not _SHELLS.intersection(name_words(call.tool)):
        return None
    arguments = call.arguments or {}
    for name in _ARGUMENTS:
        value = arguments.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, list) and value:
            parts = [str(part) for part in value]
            # `["bash", "-lc", "..."]`: the line is what the shell is given.
            return parts[-1] if len(parts) > 2 and parts[1].startswith("-") else shlex.join(parts)
    return None


def operands(line: str) -> list[str]:
    """Return what a command line is given: its words without programs, options and quotes."""
    found = []
    for part in _SPLIT.split(line[:_LONGEST]):
        told = [word.strip("'\"`(){}<>,") for word in part.split()]
        named = [word for word in told if word and not re.match(r"\w+=\S*$", word)]
        found += [_given(word) for word in named[1:]]
    return [word for word in found if len(word) > 1]


def _given(word: str) -> str:
    # `-d@file` and `--url=x` hold a value, other options none.
    if word.startswith("-"):
        word = word.partition("=")[2] if "=" in word else word.partition("@")[2]
    return word.removeprefix("@").strip("'\"")


@lru_cache(maxsize=4_096)
def of_command(line: str) -> Action:
    """Return what a command line does: the meanings of its programs, and of what they are given."""
    line = line[:_LONGEST]
    verbs: set[str] = set()
    for part in _SPLIT.split(line):
        verbs.update(_verbs(part.split()))
    if _REDIRECT.search(line):
        verbs.add("create")
    nouns = of_words(words(line)).nouns
    return Action(frozenset(verbs), nouns, strongest(verbs, nouns))


def _verbs(told: Sequence[str]) -> Iterator[str]:
    """Give the meanings of one simple command."""
    own = [word for word in told if not re.match(r"\w+=", word)]
    while own and own[0].lstrip("\\(") in _WRAPPERS:
        # `sudo -u root cat`: options go with what they are given.
        own = re.sub(r"(?:-u\s+\S+|-\S+|(?<!\S)\d+[smh]?(?!\S))\s*", "", " ".join(own[1:])).split()
    if not own:
        return
    if "--dry-run" in own or (own[:2] == ["git", "clean"] and "-n" in own):
        yield "read"
        return
    program = own[0].lstrip("\\($`").rpartition("/")[2].casefold().removesuffix(".exe")
    rest = " ".join(own[1:])
    if program in ("curl", "wget", "http", "https", "invoke-webrequest", "iwr"):
        yield "send" if _SENDS.search(f" {rest}") else "read"
    elif program in _SQL_PROGRAMS:
        if _SQL.search(rest):
            yield "delete"
        yield "update" if _SQL_WRITES.search(rest) else "read"
    elif (known := _SUBCOMMANDS.get(_ALSO.get(program, program))) is not None:
        yield from _subcommand(known, own[1:])
    elif program in ("sed", "perl") and re.search(r"(?:^|\s)-\w*i", rest):
        yield "update"
    elif program == "find" and re.search(r"-delete|-exec\s+(?:rm|shred)", rest):
        yield "delete"
    else:
        yield _PROGRAMS.get(program, "execute")


def _subcommand(known: dict[str, str], rest: Sequence[str]) -> Iterator[str]:
    given = [word for word in rest if not word.startswith("-")][:2]
    for meaning, names in known.items():
        listed = names.split()
        if any(word in listed or word.partition("-")[0] in listed for word in given):
            yield meaning
            return
    yield "execute"
