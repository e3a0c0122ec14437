"""A folder that keeps whole conversations: their logs, and the specs that open them again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from models.agents.conversation import Conversation
from models.agents.errors import LogError, NoConversationError
from models.agents.security.secrets import Secrets
from models.agents.spec import AgentSpec
from models.agents.store.base import Durability, check_id
from models.agents.store.sqlite import SqliteStore
from models.errors import ConfigError, StorageFullError, is_storage_full
from models.llm import LanguageModelError, language_model

SUFFIX = ".agent.json"

STORE_KEY_VARIABLE = "LOOM_AGENTS_STORE_KEY"
"""Tools never see it: their environment is made of what they need."""


class AgentHome:
    """Conversations of one folder by id. The server and `loom agent` share it.

    Args:
        folder: Made when something is kept in it.
        durability: What a commit promises; see `Durability`.
        key: Encrypts the logs, as `models.agents.store.new_key` makes it; None: that of the
            variable `LOOM_AGENTS_STORE_KEY`, if there is one. Specs stay readable.

    Raises:
        SealError: The key is none.
    """

    def __init__(
        self, folder: str | Path, durability: Durability = "group", key: str | None = None
    ) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.store = SqliteStore(
            self.folder, durability, key or os.environ.get(STORE_KEY_VARIABLE) or None
        )

    def workspace(self, conversation_id: str) -> Path:
        """Return the folder that a conversation works in when none was named."""
        return self.folder / "workspaces" / check_id(conversation_id)

    def _path(self, conversation_id: str) -> Path:
        return self.folder / (check_id(conversation_id) + SUFFIX)

    def spec(self, conversation_id: str) -> AgentSpec | None:
        """Return the spec of a conversation; None: it was opened by a program of its own.

        Raises:
            LogError: The file is there and cannot be read.
        """
        path = self._path(conversation_id)
        try:
            return AgentSpec.model_validate(orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValidationError, ValueError) as error:
            raise LogError(
                f"the agent of '{conversation_id}' cannot be read; mend {path} ({error})"
            ) from None

    def keep(self, conversation_id: str, spec: AgentSpec) -> AgentSpec:
        """Write a spec in one step and return it with its workspace filled in.

        Raises:
            ConfigError: The model, a tool or the analyzer does not exist.
            StorageFullError: The disk is full.
        """
        if not spec.workspace:
            spec = spec.model_copy(update={"workspace": str(self.workspace(conversation_id))})
        spec.build()
        try:
            language_model(spec.model)
        except LanguageModelError as error:
            raise ConfigError(str(error)) from None  # no model failed: there is none
        path = self._path(conversation_id)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            part.write_bytes(orjson.dumps(spec.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            if not is_storage_full(error):
                raise
            raise StorageFullError(
                error.errno, f"no space left in {self.folder}; free space there, or use another"
            ) from None
        return spec

    def open(
        self,
        conversation_id: str,
        secrets: Secrets | Mapping[str, str | Callable[[], str]] | None = None,
    ) -> Conversation:
        """Open a conversation whose spec is kept here; close its workspace after it.

        Raises:
            NoConversationError: There is no such conversation.
            ConfigError: Nobody kept a spec of it.
        """
        spec = self.spec(conversation_id)
        if spec is None:
            self.must_exist(conversation_id)
            raise ConfigError(
                f"conversation '{conversation_id}' was made by a program that kept no agent for "
                f"it; `loom agent resume {conversation_id} --model ADDRESS` (or --agent FILE) "
                "gives it one and goes on"
            )
        return spec.build().open(spec.place(), self.store, conversation_id, secrets=secrets)

    def must_exist(self, conversation_id: str) -> None:
        """Check that there is a log.

        Raises:
            NoConversationError: There is none.
        """
        if not self.store.exists(conversation_id):
            raise NoConversationError(
                f"no conversation '{conversation_id}' in {self.folder}; `loom agent ls` lists "
                "those that exist"
            )

    def copy_spec(self, source: str, target: str) -> None:
        """Give a fork the spec of what it was forked from."""
        if (spec := self.spec(source)) is not None:
            self.keep(target, spec)

    def delete(self, conversation_id: str) -> None:
        """Remove a conversation and those it delegated to; files of workspaces stay.

        Raises:
            NoConversationError: There is none.
        """
        for name in self.family(conversation_id):
            self.store.delete(name)
            self._path(name).unlink(missing_ok=True)

    def family(self, conversation_id: str) -> list[str]:
        """Return a conversation and those it delegated to, in turn.

        Raises:
            NoConversationError: There is none.
        """
        self.must_exist(conversation_id)
        # By what their logs say: another one's name may begin in the same way.
        parents = {row.id: row.parent_conversation for row in self.store.list()}
        names = [conversation_id]
        for name in names:
            names += [child for child, parent in parents.items() if parent == name]
        return names

    def describe(self, conversation_id: str) -> dict[str, Any] | None:
        """Return the spec as plain JSON values."""
        spec = self.spec(conversation_id)
        return None if spec is None else spec.model_dump(mode="json")
