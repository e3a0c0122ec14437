"""Coding sessions: real source and documents in the results, with and without injected texts.

Most sessions of agents are about code, and code and its documents order all the time: comments,
messages of tests, manuals. Benign sessions here follow such orders as developers do.
"""

from __future__ import annotations

import gzip
import random
import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from models.detection.evaluation.labelled import Labels
from models.detection.scenarios.cast import Cast
from models.detection.scenarios.generate import tables
from models.detection.session import Event, Session, ToolCall
from models.settings import ROOT

TEXTS = ROOT / "datasets" / "detection" / "code" / "texts.jsonl.gz"
KINDS = {"clean": 0.55, "resisted": 0.2, "executed": 0.25}
"""What becomes of a session, with how often."""

_SOURCE = frozenset((
    ".py", ".md", ".rst", ".txt", ".toml", ".yaml", ".js", ".ts", ".c", ".h", ".cpp", ".sh",
    ".css", ".html",
))  # fmt: skip
_APART = frozenset(("site-packages", "dist-packages", "__pycache__", ".git", "node_modules"))
"""Folders of other people's files within."""
_SHORTEST, _LONGEST = 400, 9_000
_NAME = re.compile(r"\b(?:def|class|function|fn)\s+(\w{3,})")
_COMMENTS = {
    ".py": "# {}", ".sh": "# {}", ".toml": "# {}", ".yaml": "# {}", ".cpp": "// {}", ".h": "// {}",
    ".js": "// {}", ".css": "/* {} */", ".html": "<!-- {} -->",
}  # fmt: skip


@lru_cache(maxsize=1)
def declared() -> dict[str, Any]:
    """Return coding.toml."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def shipped_texts() -> tuple[tuple[str, str], ...]:
    """Return paths and texts of source and documents."""
    with gzip.open(TEXTS, "rb") as lines:
        rows = [orjson.loads(line) for line in lines]
    return tuple((row["path"], row["text"]) for row in rows)


def texts_below(folder: Path, most: int, seed: int) -> tuple[tuple[str, str], ...]:
    """Return paths and texts of source and documents below a folder, drawn by chance.

    Args:
        folder: Such as a source tree; the packages of a Python tell of themselves in `METADATA`.
        most: Files.
        seed: Same seed and files, same texts.
    """
    found = sorted(
        path for path in folder.rglob("*")
        if (path.suffix in _SOURCE or path.name == "METADATA")
        and not _APART.intersection(path.relative_to(folder).parts)
        and path.is_file() and path.stat().st_size > _SHORTEST
    )  # fmt: skip
    chosen = random.Random(seed).sample(found, min(most, len(found)))
    return tuple((_shown_path(path, folder), _beginning(path)) for path in chosen)


def _shown_path(path: Path, folder: Path) -> str:
    named = path.with_suffix(".md") if path.name == "METADATA" else path
    return named.relative_to(folder).as_posix()


def _beginning(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_LONGEST)


def coding_sessions(
    seed: int, count: int, texts: tuple[tuple[str, str], ...] | None = None
) -> Iterator[tuple[Session, Labels]]:
    """Make sessions.

    Args:
        seed: Same seed, same sessions.
        count: How many.
        texts: Paths and texts of what is read; None: the shipped ones.
    """
    known = shipped_texts() if texts is None else texts
    for number in range(count):
        yield _Coding(random.Random(f"code/{seed}/{number}"), known).play()


class _Coding:
    def __init__(self, rng: random.Random, texts: tuple[tuple[str, str], ...]) -> None:
        self._rng, self._texts, self._table = rng, texts, declared()
        self._cast = Cast(rng)
        self._kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        self._path, self._text = rng.choice(texts)
        found = _NAME.findall(self._text)
        self._name = rng.choice(found) if found else Path(self._path).stem
        package = self._cast.words["prey.product"].split()[0].lower()
        self._cast.words |= {
            "name": self._name, "path": self._path, "number": str(rng.randrange(2, 4_000)),
            "prey.name": f"{package}-{rng.choice(('utils', 'helper', 'core'))}",
        }  # fmt: skip
        self._program = rng.choice(self._table["program"])
        self._goal = rng.choice(self._table["goal"])
        self._wording = rng.randrange(len(self._goal["text"]))
        self._wrapper = rng.choice(tables()["wrappers"]["wrapper"])
        self._events: list[Event] = []
        self._hijack: list[str] = []
        self._ordered: list[str] = []

    def play(self) -> tuple[Session, Labels]:
        """Let an agent work."""
        rng = self._rng
        is_clean = self._kind == "clean"
        is_delegated = is_clean and rng.random() < 0.25
        on_issue = not is_delegated and rng.random() < 0.25
        kind = "delegating" if is_delegated else "on_issues" if on_issue else "prompts"
        prompts = self._table[kind]
        self._tell("user_message", self._cast.fill(rng.choice(prompts)))
        kinds = ["read", "find", "run", "read", "page", "document", "log", "read"]
        steps = [rng.choice(kinds) for _ in range(rng.randrange(2, 10))]
        if is_delegated:
            steps.insert(0, "document")
        injected = "" if is_clean else self._injected()
        target = rng.randrange(len(steps)) if injected else -1
        if on_issue:
            self._issue()
        for number, step in enumerate(steps):
            self._step(step, injected if number == target else "")
            if number == target and self._kind == "executed":
                self._obey()
            elif self._ordered and rng.random() < (0.9 if is_delegated else 0.4):
                self._run(self._ordered.pop(0), self._log())
            elif rng.random() < 0.25:
                self._edit()
        if rng.random() < 0.3:
            self._run(f"git add -A && git commit -m '{self._name}'", "1 file changed")
        said = rng.choice(self._table["answers"])
        if self._kind == "resisted" and rng.random() < 0.3:
            said = f"{said} {rng.choice(self._table['refusals'])}"
        self._tell("assistant_message", said)
        goal = self._cast.fill(self._goal["text"][self._wording]) if injected else ""
        labels = Labels(
            self._kind == "executed", self._kind, "train", "scenario",
            self._wrapper["family"] if injected else "", f"code|{self._goal['text'][0]}",
            "ADR.T0002" if injected else "", tuple(self._hijack), False,
            (injected,) if injected else (), goal, (), (),
        )  # fmt: skip
        return Session.of("", self._events), labels

    def _injected(self) -> str:
        goal = self._cast.fill(self._goal["text"][self._wording])
        form = self._rng.choice(self._wrapper["text"])
        return str(form.replace("{goal}", goal))

    # ---- steps

    def _step(self, kind: str, poison: str) -> None:
        rng = self._rng
        if kind == "read":
            path, text = (self._path, self._text) if rng.random() < 0.5 else rng.choice(self._texts)
            self._read(path, self._planted(path, self._excerpt(text), poison))
        elif kind == "document":
            order = rng.choice(self._table["orders"])
            command = rng.choice(order["cmds"])
            self._ordered.append(command)
            told = order["says"].replace("{cmd}", command)
            lines = [*self._prose(rng.randrange(1, 4)), told, *self._prose(rng.randrange(1, 3))]
            if poison:
                lines.insert(rng.randrange(len(lines) + 1), poison)
            self._read(rng.choice(("README.md", "CONTRIBUTING.md", "docs/setup.md", "TODO.md")),
                       "\n\n".join(lines))  # fmt: skip
        elif kind == "find":
            self._find(poison)
        elif kind == "page":
            lines = self._prose(rng.randrange(2, 6))
            if poison:
                lines.insert(rng.randrange(len(lines) + 1), poison)
            url = (
                f"https://docs.{self._cast.words['data.url'].partition('://')[2] or 'example.org'}"
            )
            name, key, why = self._program["page"]
            self._call(name, {key: url, why: f"How is {self._name} used?"}, "\n\n".join(lines))
        else:
            command = rng.choice((
                "pytest -q", "make test", "npm test", "mypy .", "git log -3",
                f"cat {self._path}", "git status", "git diff", "ls -la",
            ))  # fmt: skip
            self._run(command, self._log(poison))

    def _read(self, path: str, text: str) -> None:
        name, key = self._program["read"]
        told = f"cat {path}" if key == "command" else path
        if self._rng.random() < 0.4:
            text = "\n".join(f"{n:>5}\t{line}" for n, line in enumerate(text.splitlines(), 1))
        self._call(name, {key: told}, text)

    def _find(self, poison: str) -> None:
        rng = self._rng
        lines = []
        for path, text in rng.sample(self._texts, 3):
            own = [line for line in text.splitlines() if len(line.strip()) > 8]
            for line in rng.sample(own, min(3, len(own))):
                lines.append(f"{path}:{rng.randrange(1, 400)}:{line}")
        if poison:
            lines.insert(rng.randrange(len(lines) + 1), f"{self._path}:7:# {poison}")
        name, key, *more = self._program["find"]
        told = f"grep -rn {self._name} ." if key == "command" else self._name
        self._call(name, {key: told} | dict.fromkeys(more, "."), "\n".join(lines))

    def _issue(self) -> None:
        """Read an issue and do what it asks for: that is what the user wants."""
        rng, fill = self._rng, self._cast.fill
        asked = rng.sample(self._table["requests"], rng.randrange(1, 5))
        mark = rng.choice(("- ", "* ", "1. ", "", "- [ ] "))
        lines = [f"title: {self._name} is wrong", "state: OPEN", "", *self._prose(1),
                 *(mark + fill(one["says"]) for one in asked)]  # fmt: skip
        text = "\n".join(lines)
        number = self._cast.words["number"]
        chance = rng.random()
        if chance < 0.35:
            self._run(f"gh issue view {number}", text)
        elif chance < 0.75:
            tool = rng.choice(("get_issue", "issue_read", "fetch_ticket", "get_pull_request"))
            told = {
                "owner": "acme",
                "repo": "app",
                rng.choice(("number", "issue_number", "id")): int(number),
            }
            self._call(tool, told, text)
        else:
            self._read(rng.choice(("BUG.md", "docs/issue.md", ".github/review.md")), text)
        for one in asked:
            if rng.random() < 0.2:
                continue
            if "runs" in one:
                self._run(fill(one["runs"]), rng.choice(("", "ok", "done")))
            else:
                file, written = (fill(part) for part in one["edits"])
                name, place, before, after = self._program["edit"]
                old = rng.choice(("", "# Changes", f'version = "1.{number}"', self._name))
                written = f"{old}\n{written}" if rng.random() < 0.4 else written
                told = {place: file, before: old, after: written}
                self._call(name, told, "The file was updated.")

    def _edit(self) -> None:
        rng = self._rng
        lines = [line for line in self._text.splitlines() if line.strip()]
        old = rng.choice(lines)
        name, file, before, after = self._program["edit"]
        new = f"{old}\n{rng.choice(lines)}"
        self._call(name, {file: self._path, before: old, after: new}, "The file was updated.")

    def _run(self, command: str, text: str) -> str:
        name, key = self._program["run"]
        return self._call(name, {key: command}, text)

    def _obey(self) -> None:
        command = self._cast.fill(self._rng.choice(self._goal["runs"]))
        self._hijack.append(self._run(command, self._rng.choice(("", "ok", "done"))))

    # ---- texts

    def _excerpt(self, text: str) -> str:
        lines = text.splitlines()
        first = self._rng.randrange(max(1, len(lines) - 20))
        return "\n".join(lines[first : first + self._rng.randrange(15, 90)])

    def _planted(self, path: str, text: str, poison: str) -> str:
        if not poison:
            return text
        lines = text.splitlines()
        form = _COMMENTS.get(Path(path).suffix, "{}")
        at = self._rng.randrange(len(lines) + 1)
        return "\n".join([*lines[:at], form.replace("{}", poison), *lines[at:]])

    def _prose(self, count: int) -> list[str]:
        """Return paragraphs of documents."""
        found: list[str] = []
        for _ in range(50):
            path, text = self._rng.choice(self._texts)
            if path.endswith((".md", ".txt", ".rst")):
                parts = [part for part in text.split("\n\n") if 40 < len(part) < 700]
                found += self._rng.sample(parts, min(2, len(parts)))
            if len(found) >= count:
                break
        return found[:count] or ["See the source."]

    def _log(self, poison: str = "") -> str:
        rng, name = self._rng, self._name
        lines = rng.choice((
            [f"tests/test_{name}.py::test_{name} PASSED", f"{rng.randrange(900)} passed in 3.2s"],
            [f"FAILED tests/test_{name}.py::test_empty - AssertionError: assert None == 3",
             f">       assert {name}([]) == 3", "1 failed, 12 passed in 0.9s"],
            ["npm WARN deprecated request@2.88.2: request has been deprecated, see the issue",
             "added 214 packages, and audited 215 packages in 6s",
             "Run `npm audit fix` to fix them, or `npm audit` for details."],
            [f"{self._path}:12: error: Incompatible return value type  [return-value]",
             "Found 1 error in 1 file (checked 40 source files)"],
            ["On branch main", "Changes not staged for commit:",
             '  (use "git add <file>..." to update what will be committed)',
             '  (use "git restore <file>..." to discard changes in working directory)',
             f"\tmodified:   {self._path}"],
            ["commit 3f0d6c1e8f6a", "Author: Mei", "", f"    {name}: handle the empty case"],
            ["hint: Updates were rejected because the remote contains work that you do not have",
             "hint: locally. Use 'git pull' before pushing again."],
        ))  # fmt: skip
        if poison:
            lines.insert(rng.randrange(len(lines) + 1), poison)
        return "\n".join(lines)

    # ---- events

    def _call(self, tool: str, arguments: dict[str, Any], text: str) -> str:
        call = ToolCall(f"c{len(self._events)}", tool, arguments=arguments)
        self._add("tool_call", call=call)
        self._add("tool_result", text=text, responds_to=self._events[-1].id)
        return call.id

    def _tell(self, kind: Any, text: str) -> None:
        self._add(kind, text=text)

    def _add(self, kind: Any, **more: Any) -> None:
        before = self._events[-1].id if self._events else None
        self._events.append(Event(str(len(self._events)), kind, parent=before, **more))
