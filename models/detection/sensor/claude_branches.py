"""The records of Claude Code as a graph: causal order, branches that were rewound, sub-agents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.detection.sensor.draft import Record
from models.detection.sensor.values import mapping, name, sequence


@dataclass
class Node:
    """A record with a place in the graph.

    Attributes:
        record: As it was read.
        uuid, parent: Its own and the one before it; empty: none.
        actor: Empty for the main agent, else the sub-agent's id.
        before: Node before it on its branch.
        is_abandoned: It lies on a branch that was rewound.
    """

    record: Record
    uuid: str
    parent: str
    actor: str
    before: Node | None = None
    is_abandoned: bool = False

    @property
    def kind(self) -> str:
        """Type of the record."""
        return name(self.record.value.get("type"))

    @property
    def message(self) -> dict[str, Any]:
        """Its message, or an empty one."""
        return mapping(self.record.value.get("message"))

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The blocks of its message's content that are objects."""
        return [b for b in sequence(self.message.get("content")) if isinstance(b, dict)]

    @property
    def session(self) -> str:
        """Session that the record names."""
        return name(self.record.value.get("sessionId"))

    @property
    def answers(self) -> list[str]:
        """Calls that it brings results of; a message of the user brings none."""
        return [name(b.get("tool_use_id")) for b in self.blocks if b.get("type") == "tool_result"]


def make_nodes(records: Sequence[Record]) -> list[Node]:
    """Make nodes in causal order, each linked with the one before it.

    A parent that is not in the record (its line could not be read) is replaced by the record
    before in the file: a line that was lost is no rewind.
    """
    nodes: list[Node] = []
    for record in records:
        value = record.value
        is_side = value.get("isSidechain") is True
        parent = name(value.get("parentUuid")) or name(value.get("logicalParentUuid"))
        actor = name(value.get("agentId")) if is_side else ""
        nodes.append(
            Node(record, name(value.get("uuid")), parent, actor or ("?" if is_side else ""))
        )
    by_uuid = {node.uuid: node for node in reversed(nodes) if node.uuid}
    last: dict[str, Node] = {}
    for node in nodes:
        before = by_uuid.get(node.parent) if node.parent else None
        if node.parent and (before is None or before is node):
            before = last.get(node.actor)
        node.before = before
        last[node.actor] = node
    ordered = _causal(nodes)
    for node in ordered:
        if node.actor == "?":
            # Older versions give sub-agents no id: what hangs together is one of them.
            before = node.before
            is_inner = before is not None and before.actor
            node.actor = before.actor if before and is_inner else f"sidechain-{node.uuid[:8]}"
    return ordered


def _causal(nodes: Sequence[Node]) -> list[Node]:
    """Put each node behind the one before it; where they form a ring, it is cut."""
    done: set[int] = set()
    ordered: list[Node] = []
    for node in nodes:
        chain: list[Node] = []
        on_chain: set[int] = set()
        at: Node | None = node
        while at is not None and id(at) not in done:
            if id(at) in on_chain:
                chain[-1].before = None
                break
            chain.append(at)
            on_chain.add(id(at))
            at = at.before
        for one in reversed(chain):
            done.add(id(one))
            ordered.append(one)
    return ordered


def mark_abandoned(nodes: Sequence[Node]) -> None:
    """Mark what does not lead to the last record of the main agent.

    Calls that ran side by side make branches too: a result of a call that counts, and another
    block of a message that counts, are no rewind.
    """
    main = [node for node in nodes if not node.actor]
    at: Node | None = main[-1] if main else None
    if last := _last_in_file(main):
        at = last
    path: set[int] = set()
    while at is not None:
        path.add(id(at))
        at = at.before
    messages = {name(n.message.get("id")) for n in main if id(n) in path} - {""}
    calls = {name(b.get("id")) for n in main if id(n) in path for b in n.blocks} - {""}
    for node in main:
        if id(node) in path:
            continue
        is_cut_off = node.before.is_abandoned if node.before else True
        message, answers = name(node.message.get("id")), node.answers
        if message in messages or (answers and calls.issuperset(answers)):
            is_cut_off = False
        elif node.before and not is_cut_off:
            starts = id(node.before) in path and bool(
                message or (node.kind == "user" and not answers)
            )
            is_cut_off = starts
        node.is_abandoned = is_cut_off
        if not is_cut_off:
            calls |= {name(b.get("id")) for b in node.blocks} - {""}
            messages |= {message} - {""}


def _last_in_file(main: Sequence[Node]) -> Node | None:
    """Return the conversation's last record by its line; bookkeeping may follow on any branch."""
    said = [node for node in main if node.kind in ("user", "assistant")]
    return max(said, key=_line, default=None)


def _line(node: Node) -> int:
    tail = node.record.place.rpartition(":")[2]
    return int(tail) if tail.isdecimal() else 0


def delegations(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Return the sub-agents that each call began, by the call's id.

    A result names the agent that it comes from. Where none does, the agent's first prompt is
    the one that a call gave.
    """
    first: dict[str, str] = {}
    asked: dict[str, list[str]] = {}
    named: dict[str, str] = {}
    for node in nodes:
        if node.actor and node.actor not in first and node.kind == "user":
            first[node.actor] = _said(node)
        for block in node.blocks:
            if block.get("type") == "tool_use":
                prompt = mapping(block.get("input")).get("prompt")
                if isinstance(prompt, str):
                    asked.setdefault(prompt.strip(), []).append(name(block.get("id")))
        agent = name(mapping(node.record.value.get("toolUseResult")).get("agentId"))
        if agent and node.answers:
            named[agent] = node.answers[0]
    taken = set(named.values())
    found: dict[str, list[str]] = {}
    for actor in dict.fromkeys(node.actor for node in nodes if node.actor):
        call = named.get(actor, "")
        if not call:
            call = next((c for c in asked.get(first.get(actor, ""), []) if c not in taken), "")
        if call:
            taken.add(call)
            found.setdefault(call, []).append(actor)
    return found


def _said(node: Node) -> str:
    content = node.message.get("content")
    if isinstance(content, str):
        return content.strip()
    return "\n".join(name(b.get("text")) for b in node.blocks if b.get("type") == "text").strip()
