"""A folder of conversations, each an SQLite file of its own."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from models.agents.errors import CorruptLogError, NoConversationError, TakenError
from models.agents.events.codec import Record
from models.agents.store.base import Durability, Log, Summary, check_id
from models.agents.store.catalog import Catalog
from models.agents.store.checking import Checked, Finding
from models.agents.store.failures import explained
from models.agents.store.making import left_over
from models.agents.store.salvage import copy_as_it_lies
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
        return self._open(conversation_id)

    def _open(self, conversation_id: str) -> SqliteLog:
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

    def check(self, conversation_id: str) -> Checked:
        """Find everything that is wrong with a conversation.

        Raises:
            NoConversationError: There is none.
            LogError: A later program wrote it, or it is locked.
            SealError: It is encrypted and the key is missing or another one.
        """
        self._must_exist(conversation_id)
        try:
            log = self._open(conversation_id)
        except CorruptLogError as error:
            return Checked((), 0, (0, 0), (Finding(0, str(error)),))
        with contextlib.closing(log):
            return log.check()

    def salvage(self, conversation_id: str, copy_id: str) -> Checked:
        """Copy the events of a damaged conversation that are sound into a new one.

        The damaged file is read as it lies and stays so, byte for byte.

        Returns:
            What is wrong with it. Where that is nothing, no copy was made.

        Raises:
            NoConversationError: There is no such conversation.
            CorruptLogError: No event of it is sound.
            LeaseHeldError: Somebody writes to it just now.
            TakenError: There is a conversation of the new name already.
        """
        self._must_exist(conversation_id)
        if self.exists(copy_id):
            raise TakenError(f"there is a conversation '{copy_id}' already; give another id")
        with tempfile.TemporaryDirectory(prefix="salvage-") as folder:
            copy_as_it_lies(self.path(conversation_id), Path(folder))
            twin = SqliteStore(folder, "relaxed")
            twin._seal = self._seal
            checked = twin.check(conversation_id)
            if not checked.findings:
                return checked
            if checked.intact_seq == 0:
                raise CorruptLogError(
                    f"nothing of conversation '{conversation_id}' is sound "
                    f"({checked.findings[0].what}); restore its file, or import an export"
                )
            with contextlib.closing(twin._open(conversation_id)) as log:
                # Not one row more: reading the next one may fail.
                sound = itertools.islice(log.rows(at_once=1), checked.intact_seq)
                self._copy_in([row.record for row in sound], copy_id)
        return checked

    def _copy_in(self, records: Sequence[Record], copy_id: str) -> None:
        try:
            with contextlib.closing(self._open(copy_id)) as copy:
                copy.copy_in(records)
        except TakenError:
            # Somebody else began it at the same time: it is theirs.
            raise
        except BaseException:
            if self.exists(copy_id):
                self.delete(copy_id)
            raise

    def delete(self, conversation_id: str) -> None:
        """Remove a conversation for ever.

        Raises:
            NoConversationError: There is none.
        """
        self._must_exist(conversation_id)
        path = self.path(conversation_id)
        path.unlink()
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        for file in left_over(path, conversation_id):
            file.unlink(missing_ok=True)

    def _must_exist(self, conversation_id: str) -> None:
        if not self.exists(conversation_id):
            raise NoConversationError(
                f"no conversation '{conversation_id}' in {self.folder}; `list()` names them"
            )
