"""A conversation: what people and programs do with an agent at work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from models.agents.branching import fork_log, rewind_event
from models.agents.budget import Purse
from models.agents.context.view import View
from models.agents.deltas import Delta, Deltas
from models.agents.engine import Engine
from models.agents.errors import LifecycleError
from models.agents.events import (
    Answer,
    Body,
    Event,
    Note,
    Notice,
    Result,
    Rewound,
    Spent,
    Started,
    SystemPrompt,
    Title,
    UserMessage,
    new_event,
)
from models.agents.hooks import run_hooks
from models.agents.journal import Journal
from models.agents.kit import Kit
from models.agents.model import CountedModel
from models.agents.prompting import system_text, title_of, triggered
from models.agents.runs import Run
from models.agents.security.approvals import approvals, rejections, waiting
from models.agents.security.policy import Policy, policy_of
from models.agents.security.secrets import Secrets
from models.agents.standing import Standing
from models.agents.store.base import Log, Store
from models.agents.stuck import WATCHED, StuckDetector
from models.agents.tools.context import Session
from models.agents.tools.locks import table_of
from models.agents.workspace import Workspace
from models.llm import LanguageModel, Message, Request, language_model, user
from models.llm.metered import MeteredModel
from models.llm.text_tools import TextTools

if TYPE_CHECKING:
    from models.agents.agent import Agent

_CLOSING_S = 5.0
"""How long closing waits for a run that it interrupted."""

_SEEN = 100
"""Events that a stuck detector reads when a conversation is opened."""


class Conversation(Standing):
    """One conversation of an agent. Open it with `Agent.open`; close it, or use `async with`."""

    def __init__(
        self,
        agent: Agent,
        workspace: Workspace,
        store: Store,
        id: str,
        secrets: Secrets,
        parent: Conversation | None = None,
        *,
        owns_workspace: bool = False,
    ) -> None:
        self.agent = agent
        self.workspace = workspace
        self.secrets = secrets
        workspace.hide(secrets.stream)
        self.session = Session()
        self.home = store
        """The store, where conversations that this one delegates to are kept too."""
        self.store: Log = store.open(id)
        """The log: `commit` makes events durable."""
        self.store.use_gate(secrets.gate)
        self.parent = parent
        changed = self.store.state.policy
        self.policy: Policy = policy_of(changed) if changed else agent.policy
        self.locks = table_of(workspace.root)
        self.kit = Kit(agent, workspace, secrets)
        self.purse: Purse = Purse(agent.budget, parent.purse if parent else None)
        self.purse.charge(id, self.store.state)
        self.visible = View(self.store.spans)
        self._stuck: StuckDetector | None = None
        self._lock = threading.RLock()
        self._sent: tuple[Message, ...] = ()
        self.deltas = Deltas(secrets)
        self._has_started = False
        self._owns_workspace = owns_workspace
        inner = language_model(agent.model) if isinstance(agent.model, str) else agent.model
        if not inner.capabilities.tools:
            inner = TextTools(inner)
        self._owns_model = isinstance(agent.model, str)
        self.model: LanguageModel = MeteredModel(
            CountedModel(inner, lambda: (self._sent, self.visible.tokens)), budget=self.purse.calls
        )
        self._journal = Journal(self.store)
        self._engine = Engine(self, self._journal)
        if self.store.damage is None:
            self.visible.load(self.store.state)
        self._unhear = self.store.listen(self._hear)
        self._is_closed = False

    @property
    def stuck(self) -> StuckDetector:
        """Who watches for circles; reads the last events of the branch when first asked."""
        if self._stuck is None:
            state, self._stuck = self.store.state, StuckDetector()
            recent = [(max(first, state.seq - _SEEN), last) for first, last in state.branch()]
            spans = [span for span in recent if span[0] <= span[1]]
            self._stuck.add(self.store.spans(spans, WATCHED))
        return self._stuck

    def _hear(self, events: Sequence[Event]) -> None:
        with self._lock:
            self.visible.apply(events, self.store.state)
            if self._stuck is not None:
                self._stuck.add(events)

    # ---- what it is

    @property
    def id(self) -> str:
        """The conversation's id."""
        return self.store.id

    def view(self) -> tuple[Message, ...]:
        """Return what the model would be sent now."""
        with self._lock:
            return self.visible.messages()

    def _typed(self, value: Any) -> Any:
        if value is None or self.agent.structured is None:
            return value
        return TypeAdapter(self.agent.structured).validate_python(value)

    # ---- what happens in it

    async def post(self, text: str | Message) -> Event:
        """Append a user's message without running; a run under way sees it before its next call.

        Raises:
            LifecycleError: The message is empty, or a hook forbids it.
        """
        message = user(text) if isinstance(text, str) else text
        if not message.text.strip() and not message.has_images:
            # Providers refuse an empty text, and would at every later call.
            raise LifecycleError("an empty message says nothing; give it words or a picture")
        bodies: list[Body] = []
        facts = {"text": message.text}
        for verdict in await run_hooks(self.agent.hooks, "UserPromptSubmit", facts):
            if verdict.blocks:
                raise LifecycleError(f"a hook forbids this message: {verdict.message}")
            bodies.append(Notice(verdict.message, "hook"))
        bodies += [
            Notice(f"# Skill: {skill.name}\n\n{skill.text}", "skill")
            for skill in triggered(self.agent.skills, message.text)
        ]
        entries = [new_event(body) for body in self._opening(message.text)]
        place = len(entries)
        entries.append(new_event(UserMessage(message), "user"))
        entries += [new_event(body) for body in bodies]
        stored = await self._journal.append(entries)
        await self._journal.flush()
        return stored[place]

    def _opening(self, text: str) -> list[Body]:
        """What stands at the beginning of a log, and its title as soon as there is a text."""
        title = [Title(title_of(text))] if not self.state.title and title_of(text) else []
        if self.state.seq:
            return [*title]
        return [
            Started(
                self.agent.to_dict(),
                self.workspace.describe(),
                self.parent.id if self.parent else "",
            ),
            SystemPrompt(system_text(self.agent, self.workspace)),
            *title,
        ]

    async def begin(self) -> None:
        """Write the beginning of the log before anybody says something; once."""
        if not self.state.seq:
            await self._journal.append([new_event(body) for body in self._opening("")])

    def send(self, text: str | Message, *, deltas: bool = False) -> Run:
        """Say something and run: await it, or read events from it. Joins a run under way."""

        async def work() -> None:
            await self.post(text)
            joins = self._engine.is_running
            await self._engine.rest()
            if not joins or self._has_work():
                await self._run()

        return Run(self, work, deltas)

    def run(self, *, deltas: bool = False) -> Run:
        """Go on from where the log stands."""
        return Run(self, self._run, deltas)

    async def _run(self) -> None:
        if self._engine.is_running:
            raise LifecycleError(
                f"conversation '{self.id}' is running; `post` gives it a message while it does"
            )
        if not self.state.seq:
            raise LifecycleError(f"conversation '{self.id}' is empty; `send` it something")
        if self.state.phase == "finished" and not self._has_work():
            return
        if not self.state.open_calls() and all(said.role == "system" for said in self.view()):
            raise LifecycleError(
                f"conversation '{self.id}' has nothing to answer; `send` it a message"
            )
        if not self._has_started:
            self._has_started = True
            await run_hooks(self.agent.hooks, "SessionStart", {"conversation": self.id})
        await self._engine.drive()

    def _has_work(self) -> bool:
        """Whether anything happened since the last answer that the model should see."""
        if self.state.open_calls():
            return True
        branch = self.state.branch()
        kinds = [UserMessage.kind, Notice.kind, Answer.kind, Result.kind, Rewound.kind]
        last = self.store.spans(branch[-1:], kinds)
        return not last or not isinstance(last[-1].body, Answer | Result)

    def pause(self) -> None:
        """Stop before the next model call; calls that run come to their end."""
        self._engine.pause("asked to pause")

    def interrupt(self, why: str = "interrupted") -> None:
        """Stop now: the model's call is dropped, tools are killed with all their processes."""
        self._engine.interrupt(why)

    @property
    def is_running(self) -> bool:
        """Whether a run is under way in this process."""
        return self._engine.is_running

    async def approve(self, call_id: str | None = None, *, digest: str = "", by: str = "") -> None:
        """Allow waiting calls to run, with the arguments they have and no others.

        Args:
            call_id: Which; None: all that wait.
            digest: Of the arguments that were looked at; empty: those of the log.
            by: Who allows it.

        Raises:
            ApprovalError: Nothing waits, or the arguments are others.
        """
        calls = waiting(self.open_calls(), call_id)
        await self._journal.commit(*approvals(calls, digest, by), source="user")
        await self._journal.flush()

    async def reject(self, call_id: str | None = None, why: str = "") -> None:
        """Refuse waiting calls; the model reads why.

        Raises:
            ApprovalError: Nothing waits.
        """
        calls = waiting(self.open_calls(), call_id)
        await self._journal.commit(*rejections(calls, why), source="user")
        await self._journal.flush()

    async def rewind(self, seq: int) -> Event:
        """Go back to an event, also one of an abandoned branch; what comes next follows on it.

        Raises:
            LifecycleError: It runs, or has no such event.
        """
        self._must_rest("rewind")
        stored = await self._journal.append([rewind_event(self.store, seq)])
        with self._lock:
            self._stuck = None
        return stored[0]

    async def fork(self, at: int | None = None, id: str | None = None) -> Conversation:
        """Open a copy that shares the events up to one and then goes its own way.

        Args:
            at: The last event that is shared; None: the last one.
            id: Name of the copy; None: made of this one's.
        """
        name = fork_log(self, at, id)
        return Conversation(self.agent, self.workspace, self.home, name, self.secrets)

    async def ask(self, question: str) -> str:
        """Ask the model something on the side: it sees the history, which does not change."""
        asked = user(self.secrets.mask(question))
        request = Request((*self.view(), asked), self.agent.options, purpose="ask")
        reply = await self.model.generate(request)
        await self._journal.commit(Spent("ask", reply.usage, reply.cost_usd))
        return self.secrets.mask(reply.text)

    async def condense(self) -> bool:
        """Condense now; returns whether there was anything to leave out."""
        self._must_rest("condense")
        return await self._engine.condense(squeeze=1)

    async def set_title(self, title: str | None = None) -> str:
        """Name the conversation; None: let the model find a name."""
        if title is None:
            title = title_of(await self.ask("Name this conversation in at most six words."))
        await self.begin()
        await self._journal.commit(Title(title))
        return title

    async def set_policy(self, policy: Policy) -> None:
        """Change which calls wait; those that wait already go on waiting."""
        self.policy = policy
        await self.begin()
        await self._journal.commit(Note("policy", policy.to_dict()), source="user")

    async def update_secrets(self, values: Mapping[str, str | Callable[[], str]]) -> None:
        """Add secrets or replace their values; old values stay masked."""
        self.secrets.update(values)
        await self.begin()
        await self._journal.commit(Note("secrets", {"names": sorted(values)}), source="user")

    def _must_rest(self, what: str) -> None:
        if self._engine.is_running:
            raise LifecycleError(f"conversation '{self.id}' is running; pause it to {what}")

    # ---- for the engine and its tools

    def sent(self) -> tuple[tuple[Message, ...], int]:
        """Return what the model is sent, and the number of the last event behind it."""
        with self._lock:
            messages = self.visible.messages()
            self._sent = messages
            return messages, self.visible.head

    async def plug(self, *, tells: bool) -> None:
        """Take over what MCP servers offer now; with `tells`, say to the model what is away."""
        if news := await self.kit.plug(tells=tells):
            await self._journal.commit(*(Notice(text, "mcp") for text in news))

    def hear_deltas(self, listener: Callable[[Delta], None]) -> Callable[[], None]:
        """Call a function with pieces of answers and progress; returns what ends that."""
        return self.deltas.listen(listener)

    def charge(self, spent: Spent) -> None:
        """Put what a tool spent on models into the log, beside its result."""
        self._engine.actor.charge(spent)

    def child(self, agent: Agent, name: str) -> Conversation:
        """Open a conversation that this one delegates to: its own log, what is left to spend."""
        return Conversation(
            agent, self.workspace, self.home, f"{self.id}.{name}", self.secrets, self
        )

    # ---- the end

    async def aclose(self) -> None:
        """End a run that is under way, close live objects and the log."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._engine.is_running:
            self._engine.interrupt("the conversation was closed")
            await self._engine.rest(_CLOSING_S)
        if self._has_started:
            await run_hooks(self.agent.hooks, "SessionEnd", {"conversation": self.id})
        await self.session.aclose()
        await self.kit.aclose()
        if self._owns_model:
            with contextlib.suppress(Exception):
                await self.model.aclose()
        if self._owns_workspace:
            self.workspace.close()
        self._unhear()
        self.store.close()

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
