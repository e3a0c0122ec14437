"""A folder of conversations, each an SQLite file of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from models.agents.errors import NoConversationError
from models.agents.store.base import Durability, Log, Summary, check_id
from models.agents.store.catalog import Catalog
from models.agents.store.failures import explained
from models.agents.store.making import left_over
from models.agents.store.seal import Seal
from models.agents.store.sqlite_log import SqliteLog

SUFFIX = ".conversation"


class SqliteStore:
    """Conversations that survive.

    Args:
        folder: Made when it is not there.
        durability: What a commit promises; see `Durability`.
        key: Encrypts what is said and done (AES-256-GCM), as `new_key` makes it; ids, kinds,
            times and sizes stay readable. A store has one key for all conversations.

    Raises:
        SealError: The key is none.
    """

    def __init__(
        self, folder: str | Path, durability: Durability = "strict", key: str | None = None
    ) -> None:
        self.folder = Path(folder)
        self.durability: Durability = durability
        self._seal = None if key is None else Seal(key)
        self._catalog: Catalog | None = None
        self._listing = threading.Lock()

    def path(self, conversation_id: str) -> Path:
        """Return the file of a conversation."""
        return self.folder / (check_id(conversation_id) + SUFFIX)

    def open(self, conversation_id: str) -> Log:
        """Open a conversation's log; an id that is new begins an empty one.

        Raises:
            CorruptLogError: The file is none that we can read, or was cut to nothing.
            LogError: The folder cannot be written.
            SealError: The conversation is encrypted and the key is missing or another one.
        """
        path = self.path(conversation_id)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NoConversationError(f"no conversations under {self.folder}: {error}") from None
        return SqliteLog(path, conversation_id, self.durability, self._seal)

    def exists(self, conversation_id: str) -> bool:
        """Whether there is such a conversation."""
        return self.path(conversation_id).exists()

    def list(self) -> Sequence[Summary]:
        """Return all conversations, last changed first.

        A catalogue beside them remembers what it read; only changed files are read again.
        """
        if not self.folder.is_dir():
            return []
        # One connection: threads that list at the same time take turns.
        with self._listing, explained(self.folder):
            if self._catalog is None:
                self._catalog = Catalog(self.folder, SUFFIX, self._seal)
            return self._catalog.list()

    def delete(self, conversation_id: str) -> None:
        """Remove a conversation for ever.

        Raises:
            NoConversationError: There is none.
        """
        path = self.path(conversation_id)
        if not path.exists():
            raise NoConversationError(
                f"no conversation '{conversation_id}' in {self.folder}; `list()` names them"
            )
        path.unlink()
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        for file in left_over(path, conversation_id):
            file.unlink(missing_ok=True)
