"""An agent as a language model: whoever asks a model may ask an agent that works with it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from models.agents import Agent, Conversation, SandboxWorkspace
from models.agents.home import AgentHome
from models.agents.store import MemoryStore
from models.agents.store.base import Store
from models.agents.workspace import Workspace
from models.llm import (
    Capabilities,
    LanguageModel,
    LanguageModelError,
    Message,
    Options,
    Reply,
    Request,
    Usage,
    assistant,
    language_model,
)
from models.llm.base import Model
from models.llm.blocking import Blocking
from models.llm.errors import BadRequestError, UnsupportedError
from models.llm.schema import schema_instructions

Asker = Literal["model", "agent"]
"""Who answers where a model is asked: the model itself, or an agent that works with it."""

_MOST_RESTING = 8
"""Dialogs that are kept open for a next question; each holds a file."""


class NoAnswerError(LanguageModelError):
    """An agent ended without an answer: it failed, turned in circles, or came to a limit."""


@dataclass
class _Dialog:
    """A conversation, what was said in it, and what it had taken before the next question."""

    conversation: Conversation
    said: tuple[str, ...] = ()
    """Rules and questions so far."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    unpriced_calls: int = 0


class AgentModel(Model):
    """Answers requests by conversations of an agent; what it says at its end is the reply.

    A request that asks one question more than a dialog before, under the same rules, goes on in
    the same conversation, which keeps the agent's own words and thoughts; any other opens a new
    one. Of the options those count that choose words; how much an agent says is bounded by its
    steps and budget, not by `max_tokens`.

    Args:
        agent: Model, tools and limits; the system text of a request replaces its own.
        workspace: What its tools see; closed with this model.
        store: Keeps the conversations.
    """

    def __init__(self, agent: Agent, workspace: Workspace, store: Store) -> None:
        inner = language_model(agent.model) if isinstance(agent.model, str) else agent.model
        can = Capabilities(
            tools=False,
            schema=False,
            context_tokens=inner.capabilities.context_tokens,
            source=inner.capabilities.source,
        )
        super().__init__(f"agent:{agent.name}:{inner.name}", can, inner.price)
        self._agent = replace(agent, model=inner)
        self._inner = inner
        self._workspace = workspace
        self._store = store
        self._resting: list[_Dialog] = []

    @property
    def dialogs(self) -> int:
        """Conversations that are kept open for a next question."""
        return len(self._resting)

    async def _generate(self, request: Request) -> Reply:
        begun = time.perf_counter()
        rules, talk = _divided(request)
        questions = tuple(message.text for message in talk if message.role == "user")
        dialog = self._continued((rules, *questions[:-1])) if questions[1:] else None
        if dialog is None:
            dialog = _Dialog(self._opened(rules, request.options))
            # A conversation that is gone is told in one message.
            text = _told(talk)
        else:
            text = questions[-1]
        conversation = dialog.conversation
        try:
            outcome = await conversation.send(text)
            if not outcome.ok:
                raise NoAnswerError(
                    f"{self.name} gave no answer: {outcome.phase}, "
                    f"{outcome.reason or 'for no reason that is known'}; its conversation is "
                    f"{conversation.id}"
                )
        except BaseException:
            # Also a caller that waits no longer: the agent must not go on for nobody.
            await conversation.aclose()
            raise
        reply = self._reply(dialog, outcome.text, time.perf_counter() - begun)
        dialog.said = (rules, *questions)
        self._resting.append(dialog)
        while len(self._resting) > _MOST_RESTING:
            await self._resting.pop(0).conversation.aclose()
        return reply

    def _continued(self, said: tuple[str, ...]) -> _Dialog | None:
        """Take the latest dialog in which this was said, and nobody else goes on with it."""
        for place in range(len(self._resting) - 1, -1, -1):
            if self._resting[place].said == said:
                return self._resting.pop(place)
        return None

    def _opened(self, rules: str, options: Options) -> Conversation:
        kept = Options(
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            reasoning_effort=options.reasoning_effort,
        )
        agent = replace(self._agent, options=kept, system=rules or self._agent.system)
        name = f"{agent.name}-{secrets.token_hex(6)}"
        return agent.open(self._workspace, self._store, name)

    def _reply(self, dialog: _Dialog, text: str, latency_s: float) -> Reply:
        """Return an answer with what it took since the last one."""
        state = dialog.conversation.store.state
        is_priced = state.unpriced_calls == dialog.unpriced_calls
        reply = Reply(
            assistant(text),
            usage=Usage(
                state.prompt_tokens - dialog.prompt_tokens,
                completion_tokens=state.completion_tokens - dialog.completion_tokens,
            ),
            cost_usd=state.cost_usd - dialog.cost_usd if is_priced else None,
            latency_s=latency_s,
            model=self.name,
            source=self.capabilities.source,
        )
        dialog.prompt_tokens = state.prompt_tokens
        dialog.completion_tokens = state.completion_tokens
        dialog.cost_usd, dialog.unpriced_calls = state.cost_usd, state.unpriced_calls
        return reply

    async def aclose(self) -> None:
        """Close all conversations, the workspace and the model."""
        while self._resting:
            await self._resting.pop().conversation.aclose()
        self._workspace.close()
        await self._inner.aclose()


def _divided(request: Request) -> tuple[str, tuple[Message, ...]]:
    """Return the rules of a request, and what was said under them.

    Raises:
        BadRequestError: It does not end with a user's message.
        UnsupportedError: It has tools or pictures.
    """
    talk = tuple(message for message in request.messages if message.role != "system")
    if request.options.tools or any(message.role == "tool" for message in talk):
        raise UnsupportedError("an agent has tools of its own; ask a model, or leave `tools` out")
    if any(message.has_images for message in talk):
        raise UnsupportedError("an agent behind this seam sees no pictures; send text only")
    if not talk or talk[-1].role != "user":
        raise BadRequestError("a dialog must end with a user's message; add the question")
    rules = [message.text for message in request.messages if message.role == "system"]
    if request.options.schema is not None:
        rules.append(schema_instructions(request.options.schema))
    return "\n\n".join(rules), talk


def _told(talk: tuple[Message, ...]) -> str:
    """Return a dialog as one message."""
    texts = [
        message.text if message.role == "user" else f"You answered:\n{message.text}"
        for message in talk
    ]
    return "\n\n".join(texts)


@contextmanager
def agent_model(
    model: LanguageModel | str, name: str, store: Path | None = None
) -> Iterator[AgentModel]:
    """Give an agent without tools beyond thinking, in an empty sandbox; closed at the end.

    What it is asked may quote what attackers wrote, and what may be tried is for whoever asks to
    decide: so it can only think and answer.

    Args:
        model: A model, or its address (`scripted:FILE`, `openai/gpt-5`).
        name: Of the agent; its conversations begin with it.
        store: Folder of its conversations; None: in memory.
    """
    home = AgentHome(store).store if store is not None else MemoryStore()
    agent = Agent(model, tools=(), name=name, max_steps=40)
    with TemporaryDirectory(prefix=f"{name}-") as folder:
        answering = AgentModel(agent, SandboxWorkspace(Path(folder)), home)
        try:
            yield answering
        finally:
            answering.blocking.close()


@contextmanager
def asked_model(
    address: str, asker: Asker, name: str, store: Path | None = None
) -> Iterator[LanguageModel]:
    """Give who answers: the model of an address, or an agent that works with it.

    Args:
        address: Of the model.
        asker: Which of the two.
        name: Of the agent.
        store: Folder of its conversations; None: in memory.
    """
    if asker == "agent":
        with agent_model(address, name, store) as agent:
            yield agent
        return
    model = language_model(address)
    try:
        yield model
    finally:
        Blocking(model).close()
