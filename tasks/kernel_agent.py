"""Let an agent write kernels: the agent runtime behind the seam that proposers ask through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.agents import Agent, Conversation, SandboxWorkspace, SqliteStore
from models.agents.store import MemoryStore
from models.errors import ConfigError
from models.kernels.propose import Answer
from models.llm import LanguageModel, Message
from models.llm.request import Request, estimate_prompt

_AGENT = Agent("", tools=(), name="kernel-writer", max_steps=40)
"""No tool but those to think and to end: what may be tried is the session's to decide."""


@dataclass
class _Open:
    """A conversation and what was said in it."""

    conversation: Conversation
    asked: list[str]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    unpriced_calls: int = 0


class AgentAsker:
    """Answers the dialogs of kernel proposers by conversations of an agent.

    A dialog is known by its first question. One that continues the last goes on in the same
    conversation, which keeps the agent's own words and tool calls; any other opens a new one,
    with the dialog's system text. Satisfies `models.kernels.propose.Asker`.

    Args:
        agent: Model, tools and rules; its system text is replaced by that of each dialog.
        open_conversation: Opens a conversation of an agent, in a workspace and store.
    """

    def __init__(self, agent: Agent, open_conversation: Callable[[Agent], Conversation]) -> None:
        self._agent = agent
        self._open = open_conversation
        self._dialogs: dict[str, _Open] = {}

    @property
    def name(self) -> str:
        """`agent:`, its name and its model's."""
        model = self._agent.model
        return f"agent:{self._agent.name}:{model if isinstance(model, str) else model.name}"

    @property
    def dialogs(self) -> int:
        """Conversations that are open."""
        return len(self._dialogs)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Estimate the tokens of a dialog, without what the agent said to its tools."""
        return estimate_prompt(Request(tuple(messages)))

    def ask(self, messages: Sequence[Message]) -> Answer:
        """Say the last message to the agent and return what it says at the end of its run.

        Raises:
            LifecycleError: The agent did not finish; the dialog's next question opens anew.
            ConfigError: The dialog does not end with a user's message.
        """
        questions = [message.text for message in messages if message.role == "user"]
        if not questions or messages[-1].role != "user":
            raise ConfigError("a dialog must end with a user's message; add the question")
        key = questions[0]
        held = self._dialogs.get(key)
        if held is None or held.asked != questions[:-1] or len(questions) == 1:
            held = self._opened(key, messages)
            # A dialog whose conversation is gone is told in one message.
            text = "\n\n".join(questions)
        else:
            text = questions[-1]
        outcome = held.conversation.blocking.send(text)
        if not outcome.ok:
            self._close(key)
        outcome.check()
        held.asked = questions
        return self._answer(held, outcome.text)

    def _opened(self, key: str, messages: Sequence[Message]) -> _Open:
        self._close(key)
        rules = "\n\n".join(message.text for message in messages if message.role == "system")
        agent = replace(self._agent, system=rules) if rules else self._agent
        self._dialogs[key] = _Open(self._open(agent), [])
        return self._dialogs[key]

    def _answer(self, held: _Open, text: str) -> Answer:
        """Return an answer with what it took since the last one."""
        state = held.conversation.store.state
        is_priced = state.unpriced_calls == held.unpriced_calls
        answer = Answer(
            text,
            prompt_tokens=state.prompt_tokens - held.prompt_tokens,
            completion_tokens=state.completion_tokens - held.completion_tokens,
            cost_usd=state.cost_usd - held.cost_usd if is_priced else None,
        )
        held.prompt_tokens, held.completion_tokens = state.prompt_tokens, state.completion_tokens
        held.cost_usd, held.unpriced_calls = state.cost_usd, state.unpriced_calls
        return answer

    def _close(self, key: str) -> None:
        if (held := self._dialogs.pop(key, None)) is not None:
            held.conversation.blocking.close()

    def close(self) -> None:
        """Close all conversations."""
        for key in tuple(self._dialogs):
            self._close(key)


def open_kernel_agent(
    model: LanguageModel | str, workspace: Path, store: Path | None = None
) -> AgentAsker:
    """Make an agent that a `LanguageModelProposer` can ask.

    Args:
        model: A model, or its address (`scripted:FILE`, `openai/gpt-5`).
        workspace: Folder of the agent's sandbox; its tools see nothing else.
        store: Folder of its conversations; None: in memory.
    """
    home = SqliteStore(store) if store is not None else MemoryStore()
    agent = replace(_AGENT, model=model)
    return AgentAsker(agent, lambda one: one.open(SandboxWorkspace(workspace), home))
