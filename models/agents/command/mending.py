"""Logs that came to harm, or come from elsewhere: checks, copies of what is sound, imports."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO

from models.agents.command.looking import is_file, lines_of, log_of
from models.agents.errors import CorruptLogError, LogError, TakenError
from models.agents.home import AgentHome
from models.agents.spec import AgentSpec
from models.agents.store.base import LOCKED, check_id
from models.agents.store.checking import Checked, Finding, check_lines
from models.agents.store.jsonl import conversation_of, import_lines
from models.errors import ConfigError

_SHOWN = 20
"""Findings that are told one by one to people."""


def names_of(home: AgentHome) -> tuple[list[str], list[str]]:
    """Return the conversations of a home that can be checked, and those that the key is not of."""
    rows = home.store.list()
    locked = sorted(row.id for row in rows if row.damage and row.reason == LOCKED)
    return sorted({row.id for row in rows} - {*locked}), locked


def check(home: AgentHome, source: str) -> Checked:
    """Check a conversation, or an export.

    Args:
        home: Where conversations are.
        source: An id, or a path of an export.

    Raises:
        NoConversationError: There is no such conversation.
        ConfigError: There is no such file.
        SealError: It is encrypted and the key is missing or another one.
        LogError: The file is no export, or a later program wrote it.
    """
    if not is_file(source):
        home.must_exist(source)
        return home.store.check(source)
    with lines_of(source) as lines:
        conversation_of(next(lines, b""))
        return check_lines(lines)


def as_values(source: str, checked: Checked) -> Iterator[dict[str, Any]]:
    """Give what a check found as plain values, one line each; the sum comes last."""
    for finding in checked.findings:
        yield {"type": "finding", "source": source, "seq": finding.seq, "what": finding.what}
    seq, size = checked.largest
    yield {
        "type": "checked",
        "source": source,
        "sound": not checked.findings,
        "events": len(checked.read),
        "intact_seq": checked.intact_seq,
        "body_bytes": checked.body_bytes,
        "largest_body": {"seq": seq, "bytes": size},
    }


def told(source: str, checked: Checked) -> list[str]:
    """Return what a check found as lines for people."""
    count, (seq, size) = len(checked.read), checked.largest
    if not checked.findings:
        longest = f", the longest {size:,} (event {seq})" if seq else ""
        return [f"{source}: sound; {count} events, bodies of {checked.body_bytes:,} bytes{longest}"]
    lines = [
        f"{source}: DAMAGED; {count} events can be read, the first {checked.intact_seq} are sound"
    ]
    lines += [f"  {_where(finding)} {finding.what}" for finding in checked.findings[:_SHOWN]]
    if (left := len(checked.findings) - _SHOWN) > 0:
        lines.append(f"  ... and {left} more findings; --json gives all")
    return lines


def _where(finding: Finding) -> str:
    return f"event {finding.seq}" if finding.seq else "file:"


@dataclass(frozen=True)
class Salvaged:
    """What became of a conversation that was to be repaired."""

    conversation: str
    copy: str
    """The new conversation; empty: the old one is sound."""
    events: int
    """Of the copy."""
    lost: tuple[dict[str, Any], ...]
    """Records that could be read and are not in it: `seq`, `kind`, `call_id`."""
    findings: tuple[Finding, ...]
    open_calls: tuple[str, ...]
    """Calls whose results are not in the copy."""
    no_agent: str
    """Why the copy can only be looked at; empty: it can be gone on with."""

    def as_values(self) -> dict[str, Any]:
        """Return plain values."""
        found = [finding._asdict() for finding in self.findings]
        return {"type": "repaired", **vars(self), "findings": found}

    def told(self) -> list[str]:
        """Return lines for people."""
        if not self.copy:
            return [f"{self.conversation} is sound; there is nothing to repair"]
        lines = [f"{self.copy}: {self.events} events of {self.conversation}, which stays as it was"]
        lines += [f"  {_where(finding)} {finding.what}" for finding in self.findings[:_SHOWN]]
        kinds = Counter(record["kind"] for record in self.lost)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        lines.append(
            f"  lost: event {self.events + 1} and all after it"
            + (f"; of those could be read: {counts}" if counts else "")
            if self.is_shorter
            else "  lost: nothing; tables and state were made anew from the events"
        )
        if self.open_calls:
            lines.append(f"  without a result now: {', '.join(self.open_calls)}")
        if self.no_agent:
            lines.append(f"  it can be looked at and not gone on with: {self.no_agent}")
        return lines

    @property
    def is_shorter(self) -> bool:
        """Whether events are missing in the copy."""
        return any(finding.seq for finding in self.findings)


def repair(home: AgentHome, name: str, copy: str | None = None) -> Salvaged:
    """Copy what is sound of a damaged conversation into a new one, with its agent.

    Args:
        home: Where both are.
        name: The damaged one; its file is not touched.
        copy: The new one's id; None: the old one with `-repaired` and a number if need be.

    Raises:
        NoConversationError: There is no such conversation.
        CorruptLogError: Nothing of it is sound.
        TakenError: The new id exists.
        LeaseHeldError: Somebody writes to it just now.
    """
    home.must_exist(name)
    new = check_id(copy) if copy else _free(home, f"{name}-repaired")
    checked = home.store.salvage(name, new)
    if not checked.findings:
        return Salvaged(name, "", len(checked.read), (), (), (), "")
    try:
        home.copy_spec(name, new)
        no_agent = "no agent was kept with it" if home.spec(new) is None else ""
    except (ConfigError, LogError) as error:
        # The agent is a file beside the log, which may be damaged as well.
        no_agent = str(error)
    with log_of(home, new) as log:
        waiting = tuple(call.call_id for call in log.state.open_calls())
    lost = tuple(record._asdict() for record in checked.read if record.seq > checked.intact_seq)
    return Salvaged(name, new, checked.intact_seq, lost, checked.findings, waiting, no_agent)


def _free(home: AgentHome, name: str) -> str:
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in names if not home.store.exists(one))


def take_in(
    home: AgentHome,
    lines: BinaryIO,
    name: str | None = None,
    agent: AgentSpec | None = None,
    *,
    partial: bool = False,
) -> tuple[str, int, str]:
    """Make a conversation of an export; where that fails, nothing is kept.

    Args:
        home: Where it goes.
        lines: The export.
        name: Its id; None: the one that the export names.
        agent: Goes on with it; None: it can only be looked at.
        partial: Keep what is intact of one that is torn or changed.

    Returns:
        Its id, how many events it has, and what was wrong with the export; empty: nothing.

    Raises:
        LogError: It is no export, or the id is none.
        TakenError: The id exists.
        ConfigError: The agent cannot be used.
        CorruptLogError: A line is torn or changed, and `partial` is not set.
    """
    head = next(lines, b"")
    stated = conversation_of(head)
    name = check_id(name or stated)
    if home.store.exists(name):
        raise TakenError(
            f"there is a conversation '{name}' in {home.folder} already; give this one another id"
        )
    wrong = ""
    try:
        with closing(home.store.open(name)) as log:
            try:
                import_lines(itertools.chain([head], lines), log)
            except CorruptLogError as error:
                if not partial or error.intact_seq == 0:
                    raise
                wrong = str(error)
            if agent is not None:
                home.keep(name, agent)
            return name, log.state.seq, wrong
    except TakenError:
        # Somebody else began it at the same time: it is theirs.
        raise
    except BaseException:
        if home.store.exists(name):
            home.store.delete(name)
        raise
