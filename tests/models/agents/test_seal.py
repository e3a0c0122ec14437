"""Encryption at rest: behaviour 35."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from models.agents.errors import CorruptLogError, SealError
from models.agents.events import Answer, Event, Intent, Note, Result, UserMessage, new_event
from models.agents.home import AgentHome
from models.agents.spec import AgentSpec
from models.agents.store import SqliteStore, new_key
from models.agents.store.jsonl import export
from models.agents.store.seal import Seal
from models.llm import ToolCall, assistant, user

CANARY = "the-canary-sings-at-noon"


def talked(store: SqliteStore) -> list[Event]:
    """Say the canary in every way that a log keeps; large results go to a table of their own."""
    log = store.open("talk")
    call = ToolCall("c1", "ping", f'{{"n": "{CANARY}"}}')
    log.commit([new_event(UserMessage(user(f"say {CANARY}")), "user")])
    log.commit(
        [
            new_event(Answer(assistant(f"I say {CANARY}", call)), "agent"),
            new_event(Intent(call.id, "ping", call.arguments, "d"), "agent"),
            new_event(Result(call.id, "ping", CANARY * 1_000)),
        ]
    )
    events = log.events()
    log.close()
    return events


def test_behaviour_35_nothing_that_was_said_is_in_any_file_and_all_of_it_is_there_with_the_key(
    tmp_path: Path,
):
    key = new_key()
    store = SqliteStore(tmp_path / "talks", key=key)
    events = talked(store)
    assert [summary.seq for summary in store.list()] == [4]
    for file in (tmp_path / "talks").iterdir():
        data = file.read_bytes()
        assert CANARY.encode() not in data, file
        assert key.encode() not in data, file
    log = SqliteStore(tmp_path / "talks", key=key).open("talk")
    assert log.events() == events
    assert log.verify() is None
    assert log.result_of("c1") == events[-1]
    log.commit([new_event(Note())])
    assert log.state.seq == 5


def test_the_folder_of_command_server_and_flow_takes_its_key_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = new_key()
    monkeypatch.setenv("LOOM_AGENTS_STORE_KEY", key)
    home = AgentHome(tmp_path)
    script = tmp_path / "script.yaml"
    script.write_text(
        "rules:\n"
        "- {after_tool: terminal, tool_calls: [{name: finish, arguments: {message: done}}]}\n"
        "- tool_calls: [{name: terminal, arguments: {command: env}}]\n"
    )
    home.keep("talk", AgentSpec(model=f"scripted:{script}", isolation="local"))
    conversation = home.open("talk")
    assert conversation.blocking.send(f"say {CANARY}").ok
    said = [event.body.text for event in conversation.events(kinds=["result"])]
    conversation.blocking.close()
    assert "PATH=" in said[0]
    assert key not in said[0]
    assert CANARY.encode() not in (tmp_path / "talk.conversation").read_bytes()
    assert [row.title for row in AgentHome(tmp_path).store.list()] == [f"say {CANARY}"]
    monkeypatch.delenv("LOOM_AGENTS_STORE_KEY")
    with pytest.raises(SealError, match="open its store with the key"):
        AgentHome(tmp_path).open("talk")


def test_the_same_words_without_a_key_are_found_by_the_same_search(tmp_path: Path):
    talked(SqliteStore(tmp_path / "talks"))
    assert any(CANARY.encode() in file.read_bytes() for file in (tmp_path / "talks").iterdir())


def test_behaviour_35_a_key_that_is_wrong_missing_or_too_much_is_a_clear_error(tmp_path: Path):
    sealed, plain = tmp_path / "sealed", tmp_path / "plain"
    talked(SqliteStore(sealed, key=new_key()))
    talked(SqliteStore(plain))
    with pytest.raises(SealError, match="encrypted with another key; give the one"):
        SqliteStore(sealed, key=new_key()).open("talk")
    with pytest.raises(SealError, match="is encrypted; open its store with the key"):
        SqliteStore(sealed).open("talk")
    with pytest.raises(SealError, match="is not encrypted; open its store without a key"):
        SqliteStore(plain, key=new_key()).open("talk")
    for key in ("", "short", "not base64!", "A" * 20):
        with pytest.raises(SealError, match="must be 32 bytes as URL-safe base64, got"):
            SqliteStore(sealed, key=key)
    (listed,) = SqliteStore(sealed).list()
    assert "is encrypted" in listed.damage


def test_a_changed_byte_of_a_sealed_log_is_damage_that_hides_nothing_before_it(tmp_path: Path):
    key = new_key()
    events = talked(SqliteStore(tmp_path, key=key))
    with sqlite3.connect(SqliteStore(tmp_path).path("talk")) as db:
        body = bytearray(db.execute("SELECT body FROM event WHERE seq = 3").fetchone()[0])
        body[-1] ^= 1
        db.execute("UPDATE event SET body = ? WHERE seq = 3", (bytes(body),))
    log = SqliteStore(tmp_path, key=key).open("talk")
    assert log.damage is not None
    assert log.damage.intact_seq == 2
    assert log.events() == events[:2]
    assert log.repair() == 2
    assert SqliteStore(tmp_path, key=key).open("talk").events() == events[:2]


def test_records_of_a_sealed_log_cannot_change_places(tmp_path: Path):
    key = new_key()
    talked(SqliteStore(tmp_path, key=key))
    with sqlite3.connect(SqliteStore(tmp_path).path("talk")) as db:
        first, third = (
            db.execute("SELECT body FROM event WHERE seq = ?", (seq,)).fetchone()[0]
            for seq in (1, 3)
        )
        db.execute("UPDATE event SET body = ? WHERE seq = 1", (third,))
        db.execute("UPDATE event SET body = ? WHERE seq = 3", (first,))
    log = SqliteStore(tmp_path, key=key).open("talk")
    assert log.damage is not None
    assert log.damage.intact_seq == 0


def test_a_sealed_export_is_that_of_a_plain_log(tmp_path: Path):
    store = SqliteStore(tmp_path, key=new_key())
    events = talked(store)
    file = tmp_path / "out.jsonl"
    export(store.open("talk"), file)
    assert file.read_text().count(CANARY) > 1_000
    assert len(file.read_text().splitlines()) >= len(events)


def test_equal_bytes_have_one_name_per_key_and_no_two_seals(tmp_path: Path):
    one, other = Seal(new_key()), Seal(new_key())
    assert one.name(b"x") == one.name(b"x") != other.name(b"x")
    assert one.shut(b"x") != one.shut(b"x")
    assert one.open(one.shut(b"x")) == b"x"
    for broken in (b"", b"x", one.shut(b"x")[:-1], one.shut(b"x")[:8], other.shut(b"x")):
        with pytest.raises(CorruptLogError):
            one.open(broken)
