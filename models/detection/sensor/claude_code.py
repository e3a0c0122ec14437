"""Claude Code: `~/.claude/projects/<folder>/<session>.jsonl`, sub-agents in files of their own.

There is no published schema; kinds of records are those seen up to version 2.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

from models.detection.sensor.base import Source, files_at, head_of, is_file
from models.detection.sensor.claude_branches import (
    Node,
    delegations,
    make_nodes,
    mark_abandoned,
)
from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.values import (
    Content,
    content,
    mapping,
    name,
    need_mapping,
    seconds,
    sequence,
    split_tool,
    text,
)
from models.detection.session import Session, Status

_BOOKKEEPING = frozenset(
    (
        "file-history-snapshot", "file-history-delta", "custom-title", "ai-title", "agent-name",
        "agent-color", "agent-setting", "tag", "last-prompt", "pr-link", "permission-mode", "mode",
        "worktree-state", "content-replacement", "progress", "marble-origami-commit",
        "attribution-snapshot", "speculation-accept", "started", "result",
    )
)  # fmt: skip
"""Kinds that say nothing of what the agent was told or did."""

_PROGRAM = (
    "<local-command-", "<bash-stdout>", "<bash-stderr>", "<system-reminder>",
    "<task-notification>", "Caveat: The messages below were generated", "[Request interrupted",
)  # fmt: skip
"""How messages begin that the program writes in the user's name."""

_DENIED = ("The user doesn't want to", "User rejected", "Permission to use", "Tool use rejected")
_ENVIRONMENT = ("cwd", "version", "gitBranch", "permissionMode", "entrypoint")
_DEEPEST_DELEGATION = 50
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")


class ClaudeCode:
    """Transcripts of Claude Code."""

    name = "claude-code"

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give a source for each session; sub-agents belong to theirs.

        Files of sub-agents beside the sessions (up to version 2.0) name their session inside, so
        the beginning of these is read.
        """
        mains: list[Path] = []
        loose: dict[tuple[Path, str], list[Path]] = {}
        folder = home / ".claude" / "projects"
        for path in files_at(folder, ["*/*.jsonl"], unreadable):
            if path.name.startswith("agent-"):
                loose.setdefault((path.parent, _session_in(path)), []).append(path)
            else:
                mains.append(path)
        for main in mains:
            beside = loose.pop((main.parent, main.stem), [])
            yield Source(main, (main, *_below(main), *beside))
        for paths in loose.values():
            yield from (Source(path, (path,)) for path in paths)
        # Sub-agents whose session was removed are still evidence.
        for path in files_at(folder, ["*/*/subagents/**/agent-*.jsonl"], unreadable):
            own = next(up for up in path.parents if up.name == "subagents").parent
            if not is_file(own.with_name(f"{own.name}.jsonl")):
                yield Source(path, (path,))

    def source(self, path: Path) -> Source | None:
        """Return the transcript of a file."""
        if not is_file(path):
            return None
        records = head_of(path).records
        is_ours = any(
            ("uuid" in r and "sessionId" in r) or ("leafUuid" in r and r.get("type") == "summary")
            for r in records
        )
        if not is_ours:
            return None
        beside = [
            other
            for other in files_at(path.parent, ["agent-*.jsonl"])
            if other != path and _session_in(other) == path.stem
        ]
        return Source(path, (path, *_below(path), *beside))

    def read(self, source: Source) -> list[Session]:
        """Read a session with its sub-agents; sessions that share a file come apart."""
        draft = Draft(self.name)
        records: list[Record] = []
        seen: set[bytes] = set()
        for file in source.files:
            for record in draft.lines(file):
                if record.value.get("uuid") and record.raw in seen:
                    draft.mended["record that came twice"] += 1
                    continue
                seen.add(record.raw)
                if isinstance(record.value.get("uuid"), str):
                    records.append(record)
                else:
                    draft.take(record, partial(_loose, draft))
        nodes = make_nodes(records)
        groups: dict[str, list[Node]] = {}
        roots: dict[int, str] = {}
        for node in nodes:
            # What hangs together is one session, whatever a resumed one's records name.
            known = roots.get(id(node.before)) if node.before else None
            roots[id(node)] = node.session if known is None else known
            groups.setdefault(roots[id(node)], []).append(node)
        last = next((node for node in reversed(nodes) if not node.actor), None)
        main = roots[id(last)] if last else next(iter(groups), "")
        stem = source.path.stem
        is_named = last is None or any(node.session == stem for node in nodes)
        own = stem if is_named or last is None else last.session or stem
        _Reading(draft, groups.pop(main, [])).run()
        sessions = [draft.session(own)]
        for other, members in groups.items():
            inner = Draft(self.name)
            _Reading(inner, members).run()
            # Its own file has this name: what is only mixed in must not take its place.
            sessions.append(inner.session(f"{other}@{own}"))
        return sessions


def _below(main: Path) -> list[Path]:
    return files_at(main.parent / main.stem / "subagents", ["**/agent-*.jsonl"])


def _session_in(path: Path) -> str:
    return next((name(r["sessionId"]) for r in head_of(path).records if "sessionId" in r), "")


def _loose(draft: Draft, record: Record) -> None:
    """Read a record without a place in the graph."""
    value, kind = record.value, name(record.value.get("type"))
    when = seconds(value.get("timestamp"))
    if kind == "summary":
        draft.add("notice", f"title: {text(value.get('summary'))}", time_s=when, place=record.place)
    elif kind == "queue-operation":
        if told := text(value.get("content")):
            draft.add("notice", f"queued: {told}", time_s=when, place=record.place)
    elif kind in _BOOKKEEPING:
        draft.note("permissionMode", value.get("permissionMode"))
    else:
        draft.not_known(kind, record)


class _Reading:
    """Makes the events of one session's nodes."""

    def __init__(self, draft: Draft, nodes: Sequence[Node]) -> None:
        self._draft = draft
        self._nodes: dict[str, list[Node]] = {}
        for node in nodes:
            self._nodes.setdefault(node.actor, []).append(node)
        self._ends: dict[int, str | None] = {}
        self._begun = delegations(nodes)
        self._begun_by = {actor: call for call, many in self._begun.items() for actor in many}
        self._made: set[str] = set()
        self._depth = 0
        self._summed_up: dict[str, int] = {}

    def run(self) -> None:
        mark_abandoned(self._nodes.get("", []))
        for actor in sorted(self._nodes, key=lambda actor: actor != ""):
            self._actor(actor)

    def _actor(self, actor: str, is_abandoned: bool = False) -> None:
        """Make the events of one agent, and of those that it delegates to as it does."""
        if actor in self._made or self._depth > _DEEPEST_DELEGATION:
            return
        self._made.add(actor)
        self._depth += 1
        for node in self._nodes.get(actor, []):
            node.is_abandoned = node.is_abandoned or is_abandoned
            self._draft.tails[actor] = self._ends.get(id(node.before)) if node.before else None
            self._draft.take(node.record, partial(self._node, node))
            self._ends[id(node)] = self._draft.tails.get(actor)
        self._depth -= 1

    def _event(self, node: Node) -> dict[str, Any]:
        return {
            "time_s": seconds(node.record.value.get("timestamp")),
            "actor": node.actor,
            "delegated_by": self._draft.call_events.get(self._begun_by.get(node.actor, "")),
            "is_abandoned": node.is_abandoned,
            "place": node.record.place,
        }

    def _node(self, node: Node, record: Record) -> None:
        value, draft = record.value, self._draft
        for key in _ENVIRONMENT:
            draft.note(key, value.get(key))
        if node.kind in ("user", "assistant"):
            message = need_mapping(value.get("message"), "its message")
            draft.note("model", message.get("model"))
            (self._user if node.kind == "user" else self._assistant)(node, message)
        elif node.kind == "system":
            told = text(value.get("content")) or name(value.get("subtype"))
            draft.add("notice", told, id=node.uuid, **self._event(node))
        elif node.kind == "attachment":
            told = text(value.get("attachment"))
            draft.add("notice", f"attachment: {told}", id=node.uuid, **self._event(node))
        elif node.kind not in _BOOKKEEPING:
            draft.not_known(node.kind, record, **self._event(node))

    def _user(self, node: Node, message: dict[str, Any]) -> None:
        value, draft, event = node.record.value, self._draft, self._event(node)
        said = message.get("content")
        blocks = said if isinstance(said, list) else [said]
        ids = _ids(node.uuid)
        plain = [b for b in blocks if not _is_of(b, ("tool_result",))]
        told = content(plain)
        if value.get("isCompactSummary") is True:
            replaced = draft.alive(node.actor)[self._summed_up.get(node.actor, 0) :]
            draft.add("summary", told.text, id=next(ids), derived_from=replaced, **event)
            self._summed_up[node.actor] = len(draft.alive(node.actor)) - 1
            return
        for block in blocks:
            if _is_of(block, ("tool_result",)):
                self._result(node, block, next(ids), event)
        is_program = value.get("isMeta") is True or told.text.startswith(_PROGRAM)
        if told.text.strip() or told.images:
            draft.say("notice" if is_program else "user_message", told, id=next(ids), **event)

    def _result(self, node: Node, block: dict[str, Any], id: str, event: dict[str, Any]) -> None:
        told = content(block.get("content"))
        call = name(block.get("tool_use_id"))
        status: Status = "ok"
        if block.get("is_error") is True:
            status = "denied" if told.text.startswith(_DENIED) else "error"
        tails = [self._draft.tails.get(actor) for actor in self._begun.get(call, [])]
        ends = [tail for tail in tails if tail is not None]
        self._draft.result(call, told, status=status, id=id, derived_from=ends, **event)

    def _assistant(self, node: Node, message: dict[str, Any]) -> None:
        draft, event, ids = self._draft, self._event(node), _ids(node.uuid)
        said = message.get("content")
        for block in sequence(said) if isinstance(said, list) else [said]:
            if _is_of(block, ("thinking", "redacted_thinking")):
                thought = block.get("thinking", block.get("data"))
                if block["type"] == "thinking" and text(thought):
                    draft.add("reasoning", text(thought), id=next(ids), **event)
            elif _is_of(block, _CALLS):
                self._call(block, next(ids), event)
            elif isinstance(block, dict) and name(block.get("type")).endswith("_tool_result"):
                self._result(node, block, next(ids), event)
            else:
                self._say(content([block]), next(ids), event)

    def _say(self, told: Content, id: str, event: dict[str, Any]) -> None:
        self._draft.say("assistant_message", told, id=id, **event)

    def _call(self, block: dict[str, Any], id: str, event: dict[str, Any]) -> None:
        server, tool = split_tool(name(block.get("name")))
        server = name(block.get("server_name")) or server
        call = name(block.get("id"))
        given = mapping(block).get("input")
        self._draft.call(call, tool, given, server=server, id=id, **event)
        for actor in self._begun.get(call, []):
            self._actor(actor, event["is_abandoned"])


def _is_of(block: Any, kinds: Sequence[str]) -> TypeGuard[dict[str, Any]]:
    return isinstance(block, dict) and block.get("type") in kinds


def _ids(uuid: str) -> Iterator[str]:
    """Give ids for the events of a record: its own first, then numbered ones."""
    yield uuid
    number = 1
    while True:
        number += 1
        yield f"{uuid}#{number}"
