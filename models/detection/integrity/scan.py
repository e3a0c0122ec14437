"""Everything that can be said of servers without using them, over files and folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from models.detection.integrity.configs import Configured, config_findings, is_config, read_config
from models.detection.integrity.findings import Finding
from models.detection.integrity.live import listed
from models.detection.integrity.manifests import is_listing, of_sessions, read_listing
from models.detection.integrity.pins import Pins
from models.detection.integrity.shadowing import shadowing
from models.detection.integrity.source import facts_of
from models.detection.integrity.source_rules import SUPPLY, source_findings
from models.detection.integrity.syntax import SKIPPED, python_below
from models.detection.secrets import SecretScanner
from models.detection.secrets.files import FILE, FOLDER, NOTHING, kind_of, need_path
from models.detection.sensor.collect import read_log
from models.detection.session import ToolManifest
from models.detection.triage.blocks import SpanModels
from models.detection.verdicts import Evidence, Signal
from models.errors import DataError, ProjectError
from models.llm.messages import clean

_PROJECT = ("pyproject.toml", "setup.py", "setup.cfg")
_LARGEST_JSON = 16 * 1024**2
_MOST_FILES = 20_000
_PLAIN = (FOLDER, NOTHING)
Tell = Callable[[str], None]


@dataclass
class Scan:
    """What was looked at, and what was found.

    Attributes:
        findings: The most urgent first.
        manifests: In the order in which they were said, with where they stand.
        servers: Names of servers that were looked at.
        files: Python files that were read.
        unread: What could not be read, or did not answer, with why.
        approved: How many tools were approved that were not before.
    """

    findings: list[Finding] = field(default_factory=list)
    manifests: list[tuple[ToolManifest, str]] = field(default_factory=list)
    servers: set[str] = field(default_factory=set)
    files: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)
    approved: int = 0

    @property
    def tools(self) -> int:
        """How many tools were seen."""
        return len({(one.server, one.tool) for one, _ in self.manifests})

    @property
    def urgent(self) -> list[Finding]:
        """Findings that somebody should look at."""
        return [one for one in self.findings if one.level != "note"]


def scan(
    paths: Sequence[Path],
    *,
    pins: Pins | None = None,
    approve: bool = False,
    models: SpanModels | None = None,
    starts: bool = False,
    tell: Tell = lambda _: None,
) -> Scan:
    """Look at servers: their source, lists of tools, configurations and records.

    Args:
        paths: Folders; Python files; JSON with servers or tools; records of sessions.
        pins: What tools were before; None: changes within what is scanned are told only.
        approve: What is there now is approved; changes are told all the same.
        models: What finds instructions in texts; None: wording alone is looked at.
        starts: Servers of configurations are started, or called, to list their tools.
        tell: Hears of each step.

    Raises:
        DataError: A path is not there or cannot be looked at, or a file that was named is none of
            these.
    """
    found = Scan()
    looking = _Looking(found, models, starts, tell)
    for path in paths:
        need_path(path)
        if kind_of(path) == FOLDER:
            looking.folder(path)
        else:
            looking.named(path)
    looking.descriptions()
    places = {(one.server, one.tool): place for one, place in found.manifests}
    pins = pins or Pins()
    for signal, manifest in _changes(pins, [one for one, _ in found.manifests]):
        found.findings.append(
            Finding(signal, f"{manifest.server}/{manifest.tool}",
                    places[manifest.server, manifest.tool])
        )  # fmt: skip
    if approve:
        for server in sorted(found.servers):
            found.approved += pins.approve(server)
    # Names of files may be no UTF-8.
    found.findings = [
        msgspec.structs.replace(one, path=clean(one.path), subject=clean(one.subject))
        for one in found.findings
    ]
    found.unread = [(clean(name), clean(why)) for name, why in found.unread]
    order = {"error": 0, "warning": 1, "note": 2}
    unique = {(one.fingerprint, one.line): one for one in found.findings}
    found.findings = sorted(
        unique.values(),
        key=lambda one: (order[one.level], -one.signal.evidence.weight, one.path, one.line),
    )
    return found


def _changes(
    pins: Pins, manifests: Iterable[ToolManifest]
) -> Iterator[tuple[Signal, ToolManifest]]:
    manifests = list(manifests)
    # One by one, so that each change is told of its tool; new tools of a server that was seen
    # for the first time in this scan are none.
    known = pins.servers
    for manifest in manifests:
        for signal in pins.observe([manifest]):
            if signal.evidence.rule != "new-tool" or manifest.server in known:
                yield signal, manifest


class _Looking:
    def __init__(self, found: Scan, models: SpanModels | None, starts: bool, tell: Tell) -> None:
        self._found, self._models, self._starts, self._tell = found, models, starts, tell
        self._scanner = SecretScanner()
        self._root: Path | None = None

    def folder(self, root: Path) -> None:
        """Look at all servers below a folder."""
        self._root = root
        try:
            servers = list(_servers_below(root))
        except OSError as error:
            raise DataError(f"{root} cannot be read ({error.strerror}); make it readable") from None
        for name, paths in servers:
            self.source(name, paths, is_wanted=False)
        for path in _files_below(root):
            if (kind := kind_of(path)) != FILE:
                # A link that leads nowhere, or to a folder, hides nothing.
                self._found.unread += [(self._told(path), kind)] if kind not in _PLAIN else []
                continue
            try:
                if path.suffix in (".json", ".toml"):
                    self._data(path, is_wanted=False)
                elif path.suffix == ".jsonl":
                    self._record(path)
            except DataError:
                continue  # nobody said that every file of a folder is about servers
        self._root = None

    def named(self, path: Path) -> None:
        """Look at a file that was named.

        Raises:
            DataError: It is about no server.
        """
        if path.suffix == ".py":
            self.source(path.stem, [path], is_wanted=True)
        elif path.suffix in (".json", ".toml"):
            self._data(path, is_wanted=True)
        else:
            self._record(path)

    def source(self, server: str, paths: Sequence[Path], *, is_wanted: bool) -> None:
        """Look at the source of a server; a folder without tools is none."""
        self._tell(f"source of {server}")
        facts = facts_of(paths, self._root)
        self._found.unread += facts.unread
        # What cannot be parsed may hold any tool: a server is not clean for it.
        self._found.findings += [_unreadable(server, path, why) for path, why in facts.unread]
        # A name that is declared twice in one source is one tool of two ways to start.
        tools = {one.tool: one for one in reversed(facts.tools) if one.is_tool}
        if not tools and not is_wanted:
            return
        self._found.servers.add(server)
        self._found.files += facts.files
        self._found.manifests += [
            (ToolManifest(server, one.tool, one.description), one.path) for one in tools.values()
        ]
        self._found.findings += source_findings(facts, server, self._models)

    def _data(self, path: Path, *, is_wanted: bool) -> None:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from None
        if size > _LARGEST_JSON:
            raise DataError(f"{path} has more than {_LARGEST_JSON:,} bytes")
        if path.suffix == ".toml":
            value: object = None
        else:
            try:
                value = msgspec.json.decode(path.read_bytes())
            except (OSError, msgspec.DecodeError, RecursionError) as error:
                raise DataError(f"{path} is no JSON ({error})") from None
        if is_listing(value):
            self._take(read_listing(path), self._told(path))
        elif path.suffix == ".toml" or is_config(value):
            for server in read_config(path):
                self._configured(server)
        elif is_wanted:
            self._record(path)

    def _configured(self, server: Configured) -> None:
        self._found.servers.add(server.name)
        place = self._told(server.file)
        self._found.findings += config_findings(server, place, self._scanner)
        if server.sources:
            self.source(server.name, server.sources, is_wanted=True)
        if self._starts:
            self._tell(f"starting {server.name}")
            try:
                self._take(listed(server), place)
            except ProjectError as error:
                self._found.unread.append((server.name, str(error)))

    def _record(self, path: Path) -> None:
        self._tell(f"record {path.name}")
        self._take(of_sessions(read_log(path)), self._told(path))

    def _take(self, manifests: Sequence[ToolManifest], place: str) -> None:
        self._found.servers |= {one.server for one in manifests}
        self._found.manifests += [(one, place) for one in manifests]

    def descriptions(self) -> None:
        """Judge the descriptions of all servers that were seen, together."""
        places = {(one.server, one.tool): place for one, place in self._found.manifests}
        manifests = [one for one, _ in self._found.manifests]
        for signal, about in shadowing(manifests, self._models):
            self._found.findings.append(
                Finding(signal, f"{about.server}/{about.tool}", places[about.server, about.tool])
            )

    def _told(self, path: Path) -> str:
        if self._root is not None and path.is_relative_to(self._root):
            return clean(path.relative_to(self._root).as_posix())
        return clean(path.as_posix())


def _unreadable(server: str, path: str, why: str) -> Finding:
    evidence = Evidence(
        "unreadable-source",
        f"the source could not be read ({why}): what its tools do is not known",
        (), 0.4,
    )  # fmt: skip
    return Finding(Signal("undetermined", evidence, SUPPLY), server, path)


def _servers_below(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Give servers of a folder: it is one itself, or holds some in folders and files."""
    is_one = any(kind_of(root / name) == FILE for name in _PROJECT)
    children = sorted(root.iterdir())
    folders = [c for c in children if kind_of(c) == FOLDER and c.name not in SKIPPED]
    files = [c for c in children if c.suffix == ".py" and kind_of(c) not in (FOLDER, NOTHING)]
    is_package = any(file.name == "__init__.py" for file in files)
    if is_one or is_package:
        yield root.resolve().name, [root]
        return
    for file in files:
        yield file.stem, [file]
    for folder in folders:
        if any(True for _ in python_below(folder)):
            yield folder.name, [folder]


def _files_below(root: Path) -> Iterator[Path]:
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(names):
            path = Path(folder, name)
            is_data = path.suffix in (".json", ".toml", ".jsonl")
            # Sources are told where they are read.
            if is_data or (path.suffix != ".py" and kind_of(path) not in (FILE, *_PLAIN)):
                count += 1
                if count > _MOST_FILES:
                    return
                yield path
