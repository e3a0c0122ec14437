"""Databases that another program has open, has locked, or that are damaged."""

import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from models.agents.events import Answer, Intent, Result, UserMessage, new_event
from models.agents.store import SqliteStore
from models.agents.store.jsonl import export
from models.detection.sensor import read_log, snapshot
from models.detection.sensor.jsonl import BadRecordError
from models.llm import Message, Text, ToolCall
from tests.models.detection.sensor_cases import cursor_database

CHAT = {
    "composerData:c": {"fullConversationHeadersOnly": [{"bubbleId": "1"}, {"bubbleId": "2"}]},
    "bubbleId:c:1": {"type": 1, "text": "question", "bubbleId": "1"},
    "bubbleId:c:2": {"type": 2, "text": "answer", "bubbleId": "2"},
}


def chat(folder: Path, **more: Any) -> Path:
    return cursor_database({**CHAT, **more}, folder / "state.vscdb")


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def texts(path: Path) -> list[str]:
    return [event.text for event in read_log(path, "cursor")[0].events]


def test_a_live_database_is_read_with_what_its_log_holds_and_not_written_to(tmp_path):
    path = chat(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as live:
        live.execute("PRAGMA journal_mode = WAL")
        live.execute("PRAGMA wal_autocheckpoint = 0")
        later = json.dumps({"type": 2, "text": "in the log only", "bubbleId": "2"})
        live.execute("UPDATE cursorDiskKV SET value = ? WHERE key = 'bubbleId:c:2'", (later,))
        live.commit()
        live.execute("BEGIN IMMEDIATE")
        live.execute("UPDATE cursorDiskKV SET value = '{}'")
        before = digests(tmp_path)
        assert texts(path) == ["question", "in the log only"]
        after = digests(tmp_path)
        # Readers of a write-ahead log note themselves in its index, as every reader must.
        assert {k: v for k, v in after.items() if not k.endswith("-shm")} == {
            k: v for k, v in before.items() if not k.endswith("-shm")
        }
        live.rollback()


def test_an_exclusive_lock_does_not_keep_us_from_what_was_committed(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "BUSY_S", 0.1)
    path = chat(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as live:
        live.execute("PRAGMA locking_mode = EXCLUSIVE")
        live.execute("BEGIN EXCLUSIVE")
        assert texts(path) == ["question", "answer"]


def test_a_file_that_is_no_database_is_put_aside(tmp_path):
    path = tmp_path / "state.vscdb"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    (session,) = read_log(path)
    assert session.agent == "cursor"
    (bad,) = session.coverage.quarantined
    assert "cannot be opened" in bad.reason
    path.write_bytes(b"text")
    with (
        pytest.raises(BadRecordError, match="no SQLite database"),
        snapshot.snapshot(path),
    ):
        pass


def test_a_schema_that_is_no_text_is_put_aside(tmp_path):
    path = chat(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \xb1ABLE"))
    with contextlib.closing(sqlite3.connect(path)) as db, pytest.raises(UnicodeDecodeError):
        db.execute("SELECT count(*) FROM sqlite_master")
    (session,) = read_log(path)
    (bad,) = session.coverage.quarantined
    assert "cannot be opened" in bad.reason


def test_of_a_damaged_table_what_can_be_read_is_read(tmp_path):
    rows = {f"composerData:c{n:03}": {"conversation": [{"type": 1, "text": "x" * 900}]}
            for n in range(200)}  # fmt: skip
    path = cursor_database(rows, tmp_path / "state.vscdb")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    *chats, whole = read_log(path, "cursor")
    assert 20 < len(chats) < 200
    assert any("damaged table" in bad.reason for bad in whole.coverage.quarantined)


def test_a_value_that_cannot_be_read_costs_that_bubble(tmp_path):
    path = chat(tmp_path, **{"bubbleId:c:2": b'{"type": 2, "te'})
    (session,) = read_log(path)
    assert [event.text for event in session.events] == ["question"]
    (bad,) = session.coverage.quarantined
    assert bad.place == "state.vscdb#composerData:c/2"


def test_a_chat_whose_list_is_lost_has_its_bubbles_and_none_of_them_rewound(tmp_path):
    path = chat(tmp_path, **{"composerData:c": b"\xff"})
    (session,) = read_log(path)
    assert [(e.text, e.is_abandoned) for e in session.events] == [
        ("question", False),
        ("answer", False),
    ]


def test_bubbles_without_any_chat_are_a_session_too(tmp_path):
    rows = {key: value for key, value in CHAT.items() if key.startswith("bubble")}
    (session,) = read_log(cursor_database(rows, tmp_path / "state.vscdb"))
    assert (session.id, len(session.events)) == ("c", 2)


def test_chats_of_the_oldest_versions_are_read(tmp_path):
    path = cursor_database({}, tmp_path / "state.vscdb")
    tabs = {"tabs": [{"tabId": "t", "bubbles": [{"type": "user", "text": "q"},
                                                {"type": "ai", "rawText": "a"}]}]}  # fmt: skip
    with contextlib.closing(sqlite3.connect(path)) as db:
        key = "workbench.panel.aichat.view.aichat.chatdata"
        db.execute("INSERT INTO ItemTable VALUES (?, ?)", (key, json.dumps(tabs)))
        db.commit()
    (session,) = read_log(path)
    assert [(e.kind, e.text) for e in session.events] == [
        ("user_message", "q"),
        ("assistant_message", "a"),
    ]


def test_the_database_and_the_export_of_our_own_conversation_say_the_same(tmp_path):
    log = SqliteStore(tmp_path / "home").open("c")
    call = ToolCall("k", "shell", '{"command": "ls"}')
    log.commit(
        [
            new_event(UserMessage(Message("user", (Text("list"),))), "user"),
            new_event(Answer(Message("assistant", (Text("yes"),), (call,))), "agent"),
            new_event(Intent("k", "shell", call.arguments), "agent"),
            new_event(Result("k", "shell", "a\n" * 9_000)),
        ]
    )
    export(log, tmp_path / "c.jsonl")
    (live,) = read_log(tmp_path / "home" / "c.conversation")
    (exported,) = read_log(tmp_path / "c.jsonl")
    assert live.id == exported.id == "c"
    assert [(e.kind, e.text, e.id, e.parent) for e in
            live.events] == [(e.kind, e.text, e.id, e.parent) for e in exported.events]  # fmt: skip
    assert live.coverage.quarantined == ()
