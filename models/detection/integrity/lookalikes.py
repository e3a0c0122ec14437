"""Packages that are installed, and hosts that are reached, whose name only looks like a known one.

Known is what the user named, and packages that a project's own files and errors name. Source of
the ways in which such names differ: Vu et al. (2020), "Typosquatting and Combosquatting Attacks
on the Python Ecosystem"; one letter more, less, other or exchanged (Damerau, 1964).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from models.detection.integrity.request import Step, destinations
from models.detection.verdicts import Evidence, Outcome, Signal

SUPPLY = "ADR.T0001"

_INSTALLS = re.compile(
    r"\b(?:pip3?|pipx|uv|uvx|npx|poetry|pdm|conda|mamba|npm|pnpm|yarn|bun|cargo|gem|brew|composer)"
    r"\s+(?:pip\s+)?(?:(?:install|add|i|require)\s+)?([^;|&\n]{2,400})"
)
_RUNS = ("uvx", "npx")
_IS_INSTALL = re.compile(r"^\w+\s+(?:pip\s+)?(?:install|add|i|require)\s")
_PACKAGE = re.compile(r"(@?[A-Za-z][\w.-]*(?:/[\w.-]+)?)(?:\[[^\]]*\])?(?:[=<>~!@^].*)?\Z")
_NAMED = re.compile(
    r"\b(?:install|installs|installing|reinstall|upgrade|upgrading|require|requires|import|package|"
    r"packages|library|libraries|module|dependency|dependencies)[:\s]+(?:the\s+)?['\"`]?([\w.-]{4,60})"
    r"|['\"`]([\w.-]{4,60})['\"`]"
    r"|\b([\w.-]{4,60})['\"`]?\s+(?:package|library|module|dependency)\b",
    re.I,
)
_IN_FILES = re.compile(
    r"\bNo module named ['\"]([\w-]{4,60})|^\s*(?:import|from)\s+([a-z][\w-]{3,60})"
    r"|^\s*([A-Za-z][\w.-]{3,60})\s*(?:\[[\w,-]+\])?\s*[=~>]=\s*\d"
    r"|\"([\w.-]{4,60})\":\s*\"[\^~]?\d",
    re.M,
)
_LONG = 8
"""Names of so many letters may differ by two, shorter ones by one."""
_SHORTEST = 4
_LONGEST_RESULT = 200_000
_SAME_ENDING = re.compile(r"(?:s|es|\d+|js|py)\Z")


def lookalikes(steps: Sequence[Step], trusted: Sequence[str] = ()) -> Iterator[Signal]:
    """Yield calls that take a name which only looks like one that was meant.

    Args:
        steps: Calls of a session.
        trusted: Texts of the operator, whose hosts are known too.
    """
    for number, step in enumerate(steps):
        if not step.was_done:
            continue
        request = step.request.text
        if (packages := _packages(step)) and request:
            results = [one.result for one in steps[:number] if one.result is not None]
            meant = {_plain(one) for one in _groups(_NAMED, request)}
            for result in results:
                meant.update(_plain(one) for one in
                             _groups(_IN_FILES, result.text[:_LONGEST_RESULT]))  # fmt: skip
            for name in packages:
                if not step.request.names(name) and (like := _like(_plain(name), meant)):
                    yield _signal("lookalike-package", f"installs '{name}'", like, name, step,
                                  steps[:number])  # fmt: skip
        known = _domains((request, *trusted))
        for host in _domains(step.texts) - known if known else ():
            if like := _like_host(host, known):
                yield _signal("lookalike-host", f"reaches '{host}'", like, host, step,
                              steps[:number])  # fmt: skip


def _packages(step: Step) -> list[str]:
    """Return what a call installs, each once."""
    found: dict[str, None] = {}
    for text in step.texts:
        for match in _INSTALLS.finditer(text):
            is_run = match[0].startswith(_RUNS)
            if not is_run and not _IS_INSTALL.match(match[0]):
                continue
            words = [word.strip("'\"") for word in match[1].split()]
            names = [one[1] for word in words if (one := _PACKAGE.match(word)) is not None]
            found.update(dict.fromkeys(names[:1] if is_run else names))
    return list(found)


def _groups(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    for match in pattern.finditer(text):
        yield next(one for one in match.groups() if one)


def _plain(name: str) -> str:
    """Return a package's name as indexes compare them. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name.strip(".,:;-_")).casefold()


def _domains(texts: Iterable[str]) -> set[str]:
    """Return the last two parts of all hosts in texts; numbers are no names."""
    hosts = (one.rpartition("@")[2] for one in destinations(texts))
    parts = (host.split(".")[-2:] for host in hosts if not host[-1:].isdigit())
    return {".".join(part) for part in parts if len(part) == 2}


def _like(name: str, meant: set[str]) -> str:
    """Return which of the meant names a package only looks like; empty: it is one, or like none."""
    if name in meant or len(name) < _SHORTEST:
        return ""
    for one in sorted(meant):
        # `request` and `requests`, `boto` and `boto3`: people write the one for the other.
        if _SAME_ENDING.sub("", one) == _SAME_ENDING.sub("", name):
            continue
        if len(one) >= _SHORTEST and _is_near(name, one):
            return one
    return ""


def _like_host(host: str, known: set[str]) -> str:
    own = re.sub(r"\d+", "", host)
    for one in sorted(known):
        # Names in a row, `mirror1` and `mirror2`, are no attempt.
        if re.sub(r"\d+", "", one) != own and _is_near(host, one):
            return one
    return ""


def _is_near(name: str, other: str) -> bool:
    most = 2 if min(len(name), len(other)) >= _LONG else 1
    return name != other and edits(name, other, most) <= most


def edits(one: str, other: str, most: int) -> int:
    """Return how many letters are more, less, other or exchanged; above `most`: more than that.

    Source: Damerau (1964), restricted to exchanges of neighbours.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        line = [at]
        for to, its in enumerate(other, 1):
            cost = min(row[to] + 1, line[-1] + 1, row[to - 1] + (letter != its))
            if at > 1 and to > 1 and letter == other[to - 2] and its == one[at - 2]:
                cost = min(cost, before[to - 2] + 1)
            line.append(cost)
        if min(line) > most:
            return most + 1
        before, row = row, line
    return min(row[-1], most + 1)


def _signal(
    rule: str, does: str, like: str, name: str, step: Step, earlier: Sequence[Step]
) -> Signal:
    where = next(
        (one.result for one in earlier if one.result is not None
         and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", one.result.text, re.I)),
        None,
    )  # fmt: skip
    # Of a name that stands nowhere the agent itself may have mistaken a letter.
    outcome: Outcome = "executed" if where is not None and step.action.is_effectful else "partial"
    by = f", a name from the result of event {where.id}" if where is not None else ""
    events = (step.event.id,) if where is None else (where.id, step.event.id)
    return Signal(
        outcome,
        Evidence(
            rule, f"the agent {does}{by}; known in this session is '{like}'", events,
            0.8 if outcome == "executed" else 0.5, (step.text[:400],),
        ),
        SUPPLY,
    )  # fmt: skip
