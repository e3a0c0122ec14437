"""A conversation's file has its name only when it is whole, so an empty one was cut."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.agents.errors import CorruptLogError
from models.agents.store import SqliteStore, new_key
from models.settings import ROOT
from tests.models.agents.logs import say


def test_a_log_cut_to_nothing_is_damaged_and_not_new(tmp_path: Path):
    store = SqliteStore(tmp_path)
    log = store.open("talk")
    log.commit([say("one")])
    path = store.path("talk")
    wal = Path(f"{path}-wal").read_bytes()
    log.close()
    os.truncate(path, 0)
    # What a crash leaves beside it: SQLite would drop it with the empty file.
    Path(f"{path}-wal").write_bytes(wal)
    for _ in range(2):
        with pytest.raises(CorruptLogError, match=r"is empty \(0 bytes\): it was cut"):
            store.open("talk")
        (row,) = SqliteStore(tmp_path).list()
        assert "is empty (0 bytes)" in row.damage
    assert path.stat().st_size == 0
    assert Path(f"{path}-wal").read_bytes() == wal
    store.delete("talk")
    assert store.open("talk").commit([say("anew")])[0].seq == 1


def test_a_file_without_tables_is_damaged_and_not_new(tmp_path: Path):
    store = SqliteStore(tmp_path)
    with sqlite3.connect(store.path("talk")) as db:
        db.execute("PRAGMA journal_mode = WAL")
    db.close()
    with pytest.raises(CorruptLogError, match="has no tables: it was cut, or copied without"):
        store.open("talk")
    (row,) = store.list()
    assert "has no tables" in row.damage


_KILLED = """
import os, signal, sys
from models.agents.store import SqliteStore
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
SqliteStore(sys.argv[1]).open("talk")
"""


def test_who_is_killed_while_making_a_file_leaves_none_that_counts(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", _KILLED, tmp_path], cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    store = SqliteStore(tmp_path)
    assert not store.exists("talk")
    assert store.list() == []
    store.open("talk").close()
    store.open("talk.b").close()
    assert left.exists()
    store.delete("talk")
    assert not left.exists()
    assert [row.id for row in store.list()] == ["talk.b"]


def refused(*_: object) -> None:
    raise PermissionError("a file has one name here")


@pytest.mark.parametrize("link", [os.link, refused])
def test_those_who_begin_one_conversation_at_the_same_time_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[..., None]
):
    monkeypatch.setattr(os, "link", link)
    begun, key = threading.Barrier(4), new_key()

    def begin(name: str) -> None:
        begun.wait()
        log = SqliteStore(tmp_path, "relaxed", key).open(name)
        log.commit([say("hello")])
        log.close()

    for number in range(5):
        with ThreadPoolExecutor(4) as pool:
            tuple(pool.map(begin, [f"talk-{number}"] * 4))
        log = SqliteStore(tmp_path, key=key).open(f"talk-{number}")
        assert (log.state.seq, log.verify()) == (4, None)
        log.close()
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {f"talk-{number}.conversation" for number in range(5)}
