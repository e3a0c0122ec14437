"""A conversation on a server. Its log is copied here event by event, and reduced by the same rules.

So `state`, `events`, `open_calls`, `view` and `outcome` are what they are on the server, as of the
last thing that was done or heard.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from models.agents.context.view import View
from models.agents.deltas import Delta
from models.agents.errors import LogError
from models.agents.events import Event, Record, decode_record
from models.agents.remote.following import frames
from models.agents.remote.link import Link, error_of
from models.agents.runs import Run
from models.agents.security.policy import Policy
from models.agents.standing import Standing
from models.agents.store.base import Log
from models.agents.store.memory import MemoryLog
from models.errors import ConfigError
from models.llm import Message, Text
from models.llm import blocking as in_background

if TYPE_CHECKING:
    from models.agents.spec import AgentSpec

_PAGE = 1_000


class RemoteConversation(Standing):
    """One conversation on a server; nothing is asked before the first call.

    Args:
        url: The server, `http://HOST:PORT`.
        id: The conversation.
        key: The server's key, or a token for this conversation.
    """

    def __init__(self, url: str, id: str, key: str = "") -> None:
        self.link = Link(url, key)
        self.id = id
        self._key = key
        self._copy = MemoryLog(id)
        self.store: Log = self._copy
        """The copy of its log; `commit` is the server's."""
        self.visible = View(self.store.spans)
        self._copy.listen(lambda events: self.visible.apply(events, self.state))
        self._delta_listeners: list[Callable[[Delta], None]] = []
        self._standing: dict[str, Any] = {}
        self._news = asyncio.Condition()
        self._asked: set[asyncio.Task[Any]] = set()

    # ---- what it is

    def view(self) -> tuple[Message, ...]:
        """Return what the model would be sent now."""
        return self.visible.messages()

    # ---- what happens in it

    async def refresh(self) -> None:
        """Take in what happened on the server."""
        while True:
            query = {"after": self.state.seq, "limit": _PAGE}
            page = await self.link.call("GET", f"{self._place}/events", params=query)
            self._take(page["events"])
            if self.state.seq >= page["head"]:
                return

    async def post(self, text: str | Message) -> Event:
        """Append a user's message without running."""
        answer = await self._do("messages", text=_text(text), run=False)
        return self._event(answer["seq"])

    def send(self, text: str | Message, *, deltas: bool = False) -> Run:
        """Say something and run: await it, or read events from it."""
        return Run(self, lambda: self._run("messages", text=_text(text)), deltas)

    def run(self, *, deltas: bool = False) -> Run:
        """Go on from where the log stands."""
        return Run(self, lambda: self._run("run"), deltas)

    def pause(self) -> asyncio.Task[Any] | None:
        """Stop before the next model call; await what is returned to know that it was heard."""
        return self._soon(self._do("pause"))

    def interrupt(self) -> asyncio.Task[Any] | None:
        """Stop now; await what is returned to know that it was heard."""
        return self._soon(self._do("interrupt"))

    async def approve(self, call_id: str | None = None, *, digest: str = "", by: str = "") -> None:
        """Allow waiting calls to run, with the arguments they have and no others."""
        await self._do("approve", call_id=call_id, digest=digest, by=by, run=False)

    async def reject(self, call_id: str | None = None, why: str = "") -> None:
        """Refuse waiting calls; the model reads why."""
        await self._do("reject", call_id=call_id, why=why, run=False)

    async def rewind(self, seq: int) -> Event:
        """Go back to an event, also one of an abandoned branch."""
        answer = await self._do("rewind", seq=seq)
        return self._event(answer["seq"])

    async def fork(self, at: int | None = None, id: str | None = None) -> RemoteConversation:
        """Open a copy that shares the events up to one and then goes its own way."""
        answer = await self.link.call("POST", f"{self._place}/fork", json={"at": at, "id": id})
        copy = RemoteConversation(self.link.url, answer["id"], self._key)
        await copy.refresh()
        return copy

    async def ask(self, question: str) -> str:
        """Ask the model something on the side: it sees the history, which does not change."""
        return str((await self._do("ask", question=question))["answer"])

    async def condense(self) -> bool:
        """Condense now; returns whether there was anything to leave out."""
        return bool((await self._do("condense"))["condensed"])

    async def set_title(self, title: str | None = None) -> str:
        """Name the conversation; None: let the model find a name."""
        return str((await self._do("title", title=title))["title"])

    async def set_policy(self, policy: Policy) -> None:
        """Change which calls wait; those that wait already go on waiting."""
        await self._do("policy", **policy.to_dict())

    async def update_secrets(self, values: Mapping[str, str | Callable[[], str]]) -> None:
        """Add secrets or replace their values; old values stay masked."""
        found = {k: v if isinstance(v, str) else v() for k, v in values.items()}
        await self._do("secrets", values=found)

    def hear_deltas(self, listener: Callable[[Delta], None]) -> Callable[[], None]:
        """Call a function with pieces of answers and progress; returns what ends that."""
        self._delta_listeners.append(listener)
        return lambda: self._delta_listeners.remove(listener)

    async def aclose(self) -> None:
        """Close connections; the conversation goes on where it is."""
        await self.link.aclose()

    async def __aenter__(self) -> RemoteConversation:
        await self.refresh()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ---- how

    @property
    def _place(self) -> str:
        return f"/api/conversations/{self.id}"

    async def _do(self, what: str, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.link.call("POST", f"{self._place}/{what}", json=body)
        await self.refresh()
        return answer

    def _soon(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any] | None:
        """Do something now, with or without an event loop in this thread."""
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            in_background.run(work)
            return None
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return task

    async def _run(self, what: str, **body: Any) -> None:
        """Ask for a run and follow it to its end."""
        # A condition belongs to the loop that waits on it.
        self._news = asyncio.Condition()
        async with self._followed() as follower:
            if self._delta_listeners:
                # Pieces that come before we listen are lost.
                await self._until(follower, lambda: bool(self._standing))
            asked = await self.link.call("POST", f"{self._place}/{what}", json=body)
            await self._until(follower, lambda: self._is_over(asked))
        failure = self._standing.get("failure")
        if failure and self._standing.get("run") == asked["run"]:
            raise error_of(failure["type"], failure["message"])

    def _is_over(self, asked: Mapping[str, Any]) -> bool:
        """Whether the run that was asked for has ended; a server that came back has none."""
        now = self._standing
        if not now or now["running"] or self.state.seq < now["seq"]:
            return False
        return bool(now["boot"] != asked["boot"] or now["run"] >= asked["run"])

    async def _until(self, follower: asyncio.Task[None], holds: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(lambda: follower.done() or holds())
        if follower.done():
            follower.result()

    @contextlib.asynccontextmanager
    async def _followed(self) -> AsyncIterator[asyncio.Task[None]]:
        self._standing = {}
        follower = asyncio.create_task(self._follow())
        try:
            yield follower
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    async def _follow(self) -> None:
        wants = bool(self._delta_listeners)
        try:
            async for frame in frames(self.link, self.id, lambda: self.state.seq, deltas=wants):
                if "kind" in frame:
                    self._take([frame])
                elif frame["type"] == "status":
                    self._standing = frame
                elif frame["type"] == "delta":
                    self._show(Delta(**{k: v for k, v in frame.items() if k != "type"}))
                    continue
                async with self._news:
                    self._news.notify_all()
        finally:
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        """Let whoever waits see that the follower has ended."""

        async def notify() -> None:
            async with self._news:
                self._news.notify_all()

        self._soon(notify())

    def _show(self, delta: Delta) -> None:
        for listener in tuple(self._delta_listeners):
            listener(delta)

    def _take(self, wires: Iterable[Mapping[str, Any]]) -> None:
        """Append events that are not here yet."""
        fresh: list[Event] = []
        for wire in wires:
            expected = self.state.seq + len(fresh) + 1
            if wire["seq"] < expected:
                continue
            if wire["seq"] > expected:
                raise LogError(f"event {expected} of '{self.id}' did not come, {wire['seq']} did")
            fresh.append(decode_record(Record(**{**wire, "body": orjson.dumps(wire["body"])})))
        if fresh:
            self.store.commit(fresh)

    def _event(self, seq: int) -> Event:
        return self.store.spans([(seq, seq)])[0]


def _text(said: str | Message) -> str:
    if isinstance(said, str):
        return said
    if len(said.text) == 0 or any(not isinstance(part, Text) for part in said.parts):
        raise ConfigError("a message to a server is a text; put images into its workspace")
    return said.text


async def create(
    url: str,
    agent: AgentSpec,
    *,
    key: str = "",
    id: str | None = None,
    title: str = "",
    secrets: Mapping[str, str] | None = None,
) -> RemoteConversation:
    """Begin a conversation on a server.

    Args:
        url: The server, `http://HOST:PORT`.
        agent: What it is.
        key: The server's key.
        id: Its name; None: a new one.
        title: For people; empty: made of the first message.
        secrets: What tools may use and nobody may see.
    """
    link = Link(url, key)
    try:
        body = {
            "agent": agent.model_dump(mode="json"),
            "id": id,
            "title": title,
            "secrets": dict(secrets or {}),
        }
        made = await link.call("POST", "/api/conversations", json=body)
    finally:
        await link.aclose()
    conversation = RemoteConversation(url, made["id"], key)
    await conversation.refresh()
    return conversation
