"""Checks of a session: whom an agent called, with which rights, how often, and what left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from models.detection.integrity.conflicts import conflicts
from models.detection.integrity.identities import identities
from models.detection.integrity.leaks import leaks
from models.detection.integrity.loads import Limits, loads
from models.detection.integrity.lookalikes import lookalikes
from models.detection.integrity.memory import memory
from models.detection.integrity.merges import merges
from models.detection.integrity.permissions import permissions
from models.detection.integrity.pins import rug_pulls
from models.detection.integrity.request import Step, steps_of
from models.detection.integrity.shadowing import shadowing
from models.detection.secrets import SecretScanner
from models.detection.session import Session, ToolManifest
from models.detection.triage.blocks import SpanModels
from models.detection.verdicts import Evidence, Outcome, Signal

HALLUCINATION, UNVETTED = "ADR.T0010", "ADR.T0012"


@dataclass(frozen=True)
class Known:
    """What an operator knows beside the record.

    Attributes:
        approved: Servers that may be used; None: no list is kept. Tools of the agent program
            itself have no server and need no approval.
        manifests: Tools that servers are known to offer, beside those in the record.
        models: What finds instructions in texts; None: those checks are left out.
        scanner: What finds credentials; None: the shipped forms.
        limits: From where on calls are too many.
    """

    approved: frozenset[str] | None = None
    manifests: tuple[ToolManifest, ...] = ()
    models: SpanModels | None = None
    scanner: SecretScanner | None = None
    limits: Limits = field(default_factory=Limits)


def examine_usage(session: Session, known: Known | None = None) -> tuple[Signal, ...]:
    """Return what the checks find in a session; a session that is as it should be has none.

    Args:
        session: Nothing but its events, manifests and system messages is looked at.
        known: What the operator knows.
    """
    known = known or Known()
    steps = steps_of(session)
    trusted = [one.text for one in session.events if one.kind == "system_message"]
    found: list[Signal] = [
        *_unvetted(steps, known),
        *_undeclared(session, steps, known),
        *permissions(steps),
        *leaks(steps, trusted, known.scanner),
        *identities(steps),
        *lookalikes(steps, trusted),
        *merges(steps),
        *memory(steps, known.models),
        *loads(steps, known.limits),
        *rug_pulls(session.manifests),
        *conflicts(session),
        *(one for one, _ in shadowing((*known.manifests, *session.manifests), known.models)),
    ]
    # What is only worth a note in a scan of servers is no reason to follow a session.
    return tuple(one for one in dict.fromkeys(found) if one.outcome != "benign")


def _unvetted(steps: Sequence[Step], known: Known) -> Iterator[Signal]:
    if known.approved is None:
        return
    told: set[str] = set()
    for step in steps:
        server = step.call.server
        if server and server not in known.approved and server not in told and step.was_done:
            told.add(server)
            yield _signal(
                "unvetted-server",
                f"the agent called `{step.call.tool}` of server '{server}', which is not on the "
                f"list of {len(known.approved)} approved servers",
                step, 0.9, UNVETTED, "policy", is_hard=True,
            )  # fmt: skip


def _undeclared(session: Session, steps: Sequence[Step], known: Known) -> Iterator[Signal]:
    """Yield calls that were answered although their server never declared the tool."""
    declared: dict[str, set[str]] = {}
    for manifest in (*known.manifests, *session.manifests):
        declared.setdefault(manifest.server, set()).add(manifest.tool)
    told: set[str] = set()
    for step in steps:
        tools = declared.get(step.call.server)
        is_answered = step.result is not None and step.result.status == "ok"
        # An error is how a server should answer what it does not have. Records of the protocol
        # itself name what is no tool with a slash.
        if tools is None or step.call.tool in tools or not is_answered or "/" in step.call.tool:
            continue
        if step.title in told:
            continue
        told.add(step.title)
        acts = step.action.effect in ("send", "pay", "delete", "execute")
        yield _signal(
            "undeclared-tool",
            f"server '{step.call.server}' answered `{step.call.tool}`, which is none of the "
            f"{len(tools)} tools that it declared",
            step, 0.8 if acts else 0.6, HALLUCINATION, "policy" if acts else "partial",
        )  # fmt: skip


def _signal(
    rule: str, sentence: str, step: Step, weight: float, technique: str, outcome: Outcome, *,
    is_hard: bool = False,
) -> Signal:  # fmt: skip
    return Signal(outcome, Evidence(rule, sentence, (step.event.id,), weight), technique, is_hard)
