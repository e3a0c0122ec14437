"""Dialogs of one operator with a model: messages, what was tried, what it took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.errors import ConfigError
from models.kernels.lint.signature import Signature
from models.kernels.operators import OperatorSpec
from models.kernels.prompts.render import render
from models.kernels.propose.asking import Answer
from models.kernels.propose.base import Packet
from models.llm import Message

_TEMPLATES = {"lint": "lint", "compile": "compile", "resource": "compile", "accuracy": "accuracy",
              "crash": "crash", "timeout": "crash", "audit": "audit"}  # fmt: skip


@dataclass
class Use:
    """What the calls for an operator took."""

    calls: int = 0
    dialogs: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    """Of the calls with a price."""
    unpriced_calls: int = 0
    """Calls that are not in `cost_usd`."""

    def add(self, answer: Answer) -> None:
        """Add tokens and cost of an answer."""
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        if answer.cost_usd is None:
            self.unpriced_calls += 1
        else:
            self.cost_usd += answer.cost_usd


@dataclass
class OperatorDialog:
    """The running dialog of one operator."""

    spec: OperatorSpec
    """With documentation."""
    signature: Signature
    messages: list[Message] = field(default_factory=list)
    """Answered ones only: ends with an answer, or is empty."""
    shas: set[str] = field(default_factory=set)
    """Candidates that the model wrote."""
    notes: tuple[str, ...] = ()
    """What was odd about the last answer; told with the next feedback."""

    def goes_on(self, packet: Packet) -> bool:
        """Whether a packet continues this dialog: it is about a module that was written in it."""
        is_own = str(packet.machine.get("sha", "")) in self.shas
        return bool(self.messages) and is_own and not packet.machine.get("resume")


def feedback_text(packet: Packet, notes: Sequence[str]) -> str:
    """Return the message that tells a model what became of its module.

    Args:
        packet: In words where it has them, else its facts.
        notes: What was odd about the answer.

    Raises:
        ConfigError: No prompt answers its kind.
    """
    template = _TEMPLATES.get(packet.kind)
    if template is None:
        raise ConfigError(
            f"no prompt answers a packet of kind '{packet.kind}'; known: "
            f"{', '.join(sorted(_TEMPLATES))}"
        )
    facts = {key: value for key, value in packet.machine.items() if key != "source"}
    text = str(getattr(packet, "text", "")) or json.dumps(facts, default=str)
    target = packet.machine.get("target")
    return render(template, text=text, kind=packet.kind, target=target, notes=notes)
