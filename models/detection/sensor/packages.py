"""Packages that MCP servers are started from: named in a configuration, or installed for a user.

Read from files only: nothing is started, no registry is asked.

Sources: docs.npmjs.com/cli/commands/npx, docs.astral.sh/uv/concepts/tools, pipx.pypa.io,
docs.docker.com/reference/cli/docker/container/run, packaging.python.org (recording installed
projects: RECORD).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from models.detection.sensor.base import files_at
from models.detection.sensor.jsonl import BadRecordError, decode
from models.detection.sensor.values import mapping, name

Kind = Literal["npm", "python", "image"]

_NPM = frozenset(("npx", "bunx", "pnpx"))
_NPM_VERBS = {"npm": ("exec", "x"), "pnpm": ("dlx",), "yarn": ("dlx",), "bun": ("x",)}
_NPM_VALUES = frozenset(("-c", "--call", "-w", "--workspace", "--registry", "--prefix", "--cache"))
_NPM_NAMES = frozenset(("-p", "--package"))
_PYTHON_VALUES = frozenset(
    (
        "--python", "-p", "--index", "--index-url", "-i", "--extra-index-url", "--default-index",
        "--with-editable", "--with-requirements", "-c", "--constraints", "--env-file",
        "--directory", "--project", "--config-file", "--cache-dir", "--pip-args", "--fetch-python",
        "--refresh-package", "--group", "--extra", "-m", "--module", "-s",
    )
)  # fmt: skip
_PYTHON_NAMES = frozenset(("--from", "--with", "-w", "--spec"))
_IMAGE_FLAGS = frozenset(
    (
        "--rm", "--init", "--privileged", "--read-only", "--tty", "--interactive", "--detach",
        "--no-healthcheck", "--oom-kill-disable", "--publish-all", "--sig-proxy", "--quiet",
        "--disable-content-trust", "--replace",
    )
)  # fmt: skip
"""Options of `docker run` without a value; all others take one."""
_IMAGE_LETTERS = frozenset("itdPq")

_NPM_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_PYTHON_VERSION = re.compile(
    r"v?(?:\d+!)?\d+(?:\.\d+)+(?:[-_.]?(?:a|b|c|rc|alpha|beta|pre|post|dev)[-_.]?\d*)*(?:\+[\w.]+)?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(.*)", re.S)
_NODE_PACKAGE = re.compile(r"(.*[/\\]node_modules[/\\](?:@[^/\\]+[/\\])?[^/\\@][^/\\]*)", re.S)
_DIST_INFO = re.compile(r"(.+)-([^-]+)\.dist-info")
_LARGEST_BYTES = 16 * 1024**2
"""Of a `package.json`; those of large packages have some kilobytes."""


class Package(NamedTuple):
    """A package that a server is started from.

    Attributes:
        kind: What resolves it.
        name: Without a version.
        version: As it is asked for; empty: none is.
        is_pinned: Every start takes the same: a version of npm or PyPI, a commit, a digest. A tag
            of an image may be moved.
        spec: As it is written.
    """

    kind: Kind
    name: str
    version: str
    is_pinned: bool
    spec: str


class Installed(NamedTuple):
    """A package on disk.

    Attributes:
        name: Of the tool.
        version: Empty: its files do not say.
        path: Its folder.
        digest: SHA-256 of what its installer wrote down of each file (Python), or of its
            `package.json` and the file that is started (npm).
        installer: What put it there.
    """

    name: str
    version: str
    path: Path
    digest: str
    installer: Literal["pipx", "uv", "npm"]


def packages_of(command: Sequence[str]) -> list[Package]:
    """Return the packages that a command line starts; what is a local path is none."""
    words = _unwrapped([word for word in command if word])
    if not words:
        return []
    program, *rest = words
    program = _program(program)
    if program in _NPM:
        return _npm(rest)
    if rest and rest[0] in _NPM_VERBS.get(program, ()):
        return _npm(rest[1:])
    if program == "uvx":
        return _python(rest)
    if program == "uv" and rest[:2] == ["tool", "run"]:
        return _python(rest[2:])
    if program == "uv" and "run" in rest:
        # What comes after is a script of its own; only what it is given along is a package.
        return _python(rest[rest.index("run") + 1 :], is_named=False)
    if program == "pipx" and rest[:1] == ["run"]:
        return _python(rest[1:])
    if program in ("docker", "podman") and "run" in rest[:3] and rest[0] != "compose":
        return _image(rest[rest.index("run") + 1 :])
    return []


def _unwrapped(words: list[str]) -> list[str]:
    """Take away what only starts another program: `cmd /c`, `env NAME=value`."""
    while len(words) > 1:
        program = _program(words[0])
        if program == "cmd" and words[1].lower() == "/c":
            words = words[2:]
        elif program == "env":
            words = words[1:]
            while words and re.match(r"[A-Za-z_]\w*=", words[0]):
                words = words[1:]
        else:
            break
    return words


def _program(word: str) -> str:
    last = re.split(r"[/\\]", word)[-1].lower()
    return re.sub(r"\.(?:cmd|exe|ps1)$", "", last)


def _options(
    words: Sequence[str], values: frozenset[str], names: frozenset[str]
) -> tuple[list[str], str]:
    """Return what options name, and the first word that belongs to none; empty: there is none."""
    named: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        option, has_value, value = word.partition("=")
        if word == "--":
            return named, words[at + 1] if at + 1 < len(words) else ""
        if not word.startswith("-"):
            return named, word
        if option in names:
            named += [value] if has_value else list(words[at + 1 : at + 2])
        at += 2 if option in names | values and not has_value else 1
    return named, ""


def _npm(words: Sequence[str]) -> list[Package]:
    named, first = _options(words, _NPM_VALUES, _NPM_NAMES)
    found = []
    for spec in named or [first]:
        if not spec or spec.startswith((".", "/", "~", "file:")):
            continue
        if ":" in spec or spec.count("/") > spec.startswith("@"):
            title, _, commit = spec.partition("#")
            found.append(Package("npm", title, commit, bool(_COMMIT.fullmatch(commit)), spec))
            continue
        at = spec.find("@", 1)
        title, version = (spec, "") if at < 0 else (spec[:at], spec[at + 1 :])
        found.append(Package("npm", title, version, bool(_NPM_VERSION.fullmatch(version)), spec))
    return found


def _python(words: Sequence[str], *, is_named: bool = True) -> list[Package]:
    named, first = _options(words, _PYTHON_VALUES, _PYTHON_NAMES)
    is_given = any(re.match(r"--(?:from|spec)\b", word) for word in words)
    specs = named if is_given or not is_named else [first, *named]
    # `--with a,b` names two.
    parts = [part.strip() for spec in specs for part in re.split(r",(?![^\[]*\])(?=\s*\w)", spec)]
    return [found for part in parts if (found := _requirement(part)) is not None]


def _requirement(spec: str) -> Package | None:
    if not spec or spec.startswith((".", "/", "~", "file:")) or spec.endswith(".py"):
        return None
    address = spec.partition(" @ ")[2].strip() or (spec if "://" in spec else "")
    if address:
        title, _, commit = address.partition("#")[0].rpartition("@")
        if "://" not in title or "/" in commit:
            title, commit = address, ""
        return Package("python", title, commit, bool(_COMMIT.fullmatch(commit)), spec)
    match = _REQUIREMENT.fullmatch(spec)
    if match is None:
        return None
    title, asked = match[1], match[2].strip()
    version = re.sub(r"^(?:===?|@)\s*", "", asked)
    is_exact = asked.startswith(("==", "@")) and bool(_PYTHON_VERSION.fullmatch(version))
    return Package("python", title, version, is_exact, spec)


def _image(words: Sequence[str]) -> list[Package]:
    at = 0
    while at < len(words) and words[at].startswith("-"):
        word = words[at]
        is_flag = "=" in word or word in _IMAGE_FLAGS
        if not word.startswith("--"):
            letters = word[1:]
            # `-it` is two flags, `-eNAME=x` has its value with it, `-e` has it behind.
            is_flag = set(letters) <= _IMAGE_LETTERS or len(letters.lstrip("itdPq")) > 1
        at += 1 if is_flag else 2
    if at >= len(words):
        return []
    spec = words[at]
    title, _, digest = spec.partition("@")
    version = digest
    last = title.rpartition("/")[2]
    if ":" in last:
        tag = last.partition(":")[2]
        title, version = title[: -len(tag) - 1], digest or tag
    is_pinned = bool(re.fullmatch(r"sha256:[0-9a-f]{64}", digest))
    return [Package("image", title, version, is_pinned, spec)]


def installed_tools(home: Path) -> Iterator[Installed]:
    """Give the tools that pipx and uv installed for a user."""
    places: tuple[tuple[str, Literal["pipx", "uv"]], ...] = (
        (".local/pipx/venvs", "pipx"), (".local/share/pipx/venvs", "pipx"),
        (".local/share/uv/tools", "uv"),
    )  # fmt: skip
    for place, installer in places:
        records = files_at(home / place, ["*/lib/python*/site-packages/*.dist-info/RECORD",
                                          "*/Lib/site-packages/*.dist-info/RECORD"])  # fmt: skip
        tools: dict[Path, list[Path]] = {}
        for record in records:
            folder = home / place / record.relative_to(home / place).parts[0]
            tools.setdefault(folder, []).append(record)
        for folder, own in sorted(tools.items()):
            yield Installed(folder.name, _version(folder.name, own), folder, _digest(own, folder),
                            installer)  # fmt: skip


def _version(tool: str, records: Sequence[Path]) -> str:
    for record in records:
        match = _DIST_INFO.fullmatch(record.parent.name)
        if match and _normal(match[1]) == _normal(tool):
            return match[2]
    return ""


def _normal(title: str) -> str:
    """Return a name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", title).lower()


def _digest(files: Sequence[Path], folder: Path) -> str:
    """Return one digest of files and of where they lie; one that cannot be read counts as empty."""
    sha = hashlib.sha256()
    for file in sorted(files):
        place = str(file.relative_to(folder)).encode("utf-8", "replace")
        sha.update(place + b"\0")
        with suppress(OSError), file.open("rb") as opened:
            sha.update(hashlib.file_digest(opened, "sha256").digest())
    return sha.hexdigest()


def installed_npm(command: Sequence[str], home: Path) -> list[Installed]:
    """Return the packages in a `node_modules` that a command line names by their paths."""
    found = []
    for word in command:
        match = _NODE_PACKAGE.match(word)
        if match is None:
            continue
        folder, file = _path(match[1], home), _path(word, home)
        about = folder / "package.json"
        told, started = None, []
        with suppress(OSError, BadRecordError):
            if about.is_file() and about.stat().st_size <= _LARGEST_BYTES:
                told = decode(about.read_bytes()).value
                started = [file] if file.is_file() and file != about else []
        if not isinstance(told, dict):
            continue
        title = name(mapping(told).get("name")) or folder.name
        found.append(
            Installed(title, name(told.get("version")), folder,
                      _digest([about, *started], folder), "npm")
        )  # fmt: skip
    return found


def _path(word: str, home: Path) -> Path:
    return home / word[2:] if word.startswith(("~/", "~\\")) else Path(word)
