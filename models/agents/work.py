"""Pieces of work for an agent, one conversation each, that any process can go on with."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import orjson
from pydantic import Field, ValidationError, field_validator

from models.agents.command.approvals import waiting_in
from models.agents.command.place import check_place
from models.agents.conversation import Conversation
from models.agents.errors import LogError
from models.agents.events.types import Event, Intent, Phase
from models.agents.home import AgentHome
from models.agents.spec import AgentSpec
from models.agents.store.base import Log, check_id
from models.agents.work_config import WorkConfig
from models.config import Config
from models.errors import ConfigError, DatasetUnreadableError


class WorkItem(Config):
    """A piece of work: what one conversation is for."""

    id: str = Field(min_length=1)
    """Name, unique in its file; part of the conversation's."""
    prompt: str = Field(min_length=1)
    """What the agent is told."""
    workspace: str = ""
    """Folder to work in; empty: the agent's, or one of its own."""
    files: dict[str, str] = Field(default_factory=dict)
    """Texts that the workspace begins with, by path."""

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("an empty prompt says nothing")
        return prompt

    @field_validator("files")
    @classmethod
    def _lie_within(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.name:
                raise ValueError(f"'{name}' is no path within a workspace")
        return files


def read_items(path: Path) -> list[WorkItem]:
    """Read one piece of work per line.

    Raises:
        DatasetUnreadableError: There is no such file, a line is none, or an id comes twice.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DatasetUnreadableError(f"no work in {path}: {error.strerror}") from None
    items: dict[str, WorkItem] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = WorkItem.model_validate(orjson.loads(line))
            check_id(item.id)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DatasetUnreadableError(
                f"line {number} of {path.name} is no work: {place}: {first['msg']}; a line is "
                '{"id": "...", "prompt": "..."}'
            ) from None
        except (ValueError, LogError) as error:
            told = f"line {number} of {path.name} is no work: {error}"
            raise DatasetUnreadableError(told) from None
        if item.id in items:
            told = f"line {number} of {path.name}: id '{item.id}' comes twice"
            raise DatasetUnreadableError(told)
        items[item.id] = item
    if not items:
        raise DatasetUnreadableError(f"{path.name} has no work in it")
    return [*items.values()]


def work_items(config: WorkConfig) -> list[WorkItem]:
    """Return the pieces of work of a config, all of whose workspaces are there or can begin.

    Raises:
        DatasetUnreadableError: The file has no work, or a line is none.
        ConfigError: A workspace is not there.
    """
    given = config.data
    items = [WorkItem(id="prompt", prompt=config.prompt)] if given is None else read_items(given)
    check_places(items, config.spec)
    return items


def check_places(items: Iterable[WorkItem], spec: AgentSpec) -> None:
    """Refuse work in a folder that is not there: a name that is mistyped would be made anew.

    Raises:
        ConfigError: A workspace is named, is no folder, and no texts are given to begin it with.
    """
    for item in items:
        place = item.workspace or spec.workspace
        if place:
            way_out = "give the work `files` that it begins with"
            check_place(place, may_make=bool(item.files), way_out=way_out)


@dataclass(frozen=True)
class WorkOutcome:
    """Where a piece of work stands.

    Attributes:
        item: Its id.
        conversation: Where all of it is written.
        phase: Of the conversation.
        text: What the agent said at its end.
        reason: Why it did not finish.
        steps, cost_usd: In all.
        waiting: Calls that wait for an approval.
        events: Everything that happened, delegated conversations not included.
    """

    item: str
    conversation: str
    phase: Phase
    text: str
    reason: str
    steps: int
    cost_usd: float
    waiting: tuple[Intent, ...] = ()
    events: tuple[Event, ...] = field(default=(), repr=False)


_live: dict[str, Conversation] = {}
_live_lock = threading.Lock()


def interrupt_all(why: str) -> int:
    """Interrupt every piece of work of this process; returns how many ran. They can go on."""
    with _live_lock:
        running = [*_live.values()]
    for conversation in running:
        conversation.interrupt(why)
    return len(running)


def work_on(home: Path, conversation_id: str, item: WorkItem, spec: AgentSpec) -> WorkOutcome:
    """Begin a piece of work, or go on where its conversation stands.

    Args:
        home: Folder of conversations; a server and the command line may share it.
        conversation_id: The same for every attempt.
        item: What is to be done; of no matter once it was said.
        spec: The agent; that of the first attempt stays.
    """
    keeper = AgentHome(home)
    if keeper.spec(conversation_id) is None:
        place = item.workspace or spec.workspace or str(keeper.workspace(conversation_id))
        _fill(Path(place), item)
        keeper.keep(conversation_id, spec.model_copy(update={"workspace": place}))
    conversation = keeper.open(conversation_id)
    with _live_lock:
        _live[conversation_id] = conversation
    try:
        blocking = conversation.blocking
        is_new = not any(event.kind == "user" for event in conversation.events(kinds=["user"]))
        blocking.send(item.prompt) if is_new else blocking.run()
        return _standing(item, conversation.store)
    finally:
        with _live_lock:
            _live.pop(conversation_id, None)
        conversation.blocking.close()
        conversation.workspace.close()


def reject_waiting(home: Path, conversation_id: str, why: str) -> int:
    """Refuse all calls of a conversation that wait; the agent reads why. Returns how many."""
    conversation = AgentHome(home).open(conversation_id)
    try:
        waiting = len(waiting_in(conversation.store))
        conversation.blocking.reject(why=why)
        return waiting
    finally:
        conversation.blocking.close()
        conversation.workspace.close()


def _fill(place: Path, item: WorkItem) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in item.files.items():
        file = (place / name).resolve()
        if not file.is_relative_to(place.resolve()):
            raise ConfigError(f"file '{name}' of '{item.id}' lies outside of its workspace")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def look_at(home: Path, conversation_id: str, item: WorkItem) -> WorkOutcome | None:
    """Return where a piece of work stands, without doing anything; None: it was never begun."""
    store = AgentHome(home).store
    if not store.exists(conversation_id):
        return None
    with contextlib.closing(store.open(conversation_id)) as log:
        return _standing(item, log)


def never_begun(item: WorkItem, why: object) -> WorkOutcome:
    """Return the outcome of a piece of work that has no conversation."""
    return WorkOutcome(item.id, "", "error", "", str(why), 0, 0.0)


def _standing(item: WorkItem, log: Log) -> WorkOutcome:
    state = log.state
    return WorkOutcome(
        item.id,
        log.id,
        state.phase,
        state.final if state.phase == "finished" else "",
        state.reason,
        state.steps,
        state.cost_usd,
        tuple(waiting_in(log)) if state.phase == "waiting" else (),
        tuple(log.events()),
    )
