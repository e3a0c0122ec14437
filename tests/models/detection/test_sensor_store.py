"""What is collected of a user's agents: once, struck through, whole, again only when it grew."""

import hashlib
import json
import shutil
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from models.detection.secrets.generate import drawn
from models.detection.secrets.rules import read_rules
from models.detection.sensor.collect import collect
from models.detection.sensor.inventory import compare, inventory
from models.detection.sensor.snapshot import rows, snapshot
from models.detection.sensor.store import Store
from models.detection.session import Event, Session
from models.errors import DataError
from models.settings import ROOT

PROJECT = ".claude/projects/-home-lin-shop"
SAMPLE = ROOT / "datasets" / "detection" / "agent_logs" / "claude_code"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLE, tmp_path / "home" / PROJECT)
    for path in (tmp_path / "home").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "home"


def log_of(home: Path) -> Path:
    (log,) = (home / PROJECT).glob("*.jsonl")
    return log


def test_a_second_collection_opens_nothing_that_did_not_change(home: Path, tmp_path: Path):
    store = Store(tmp_path / "store")
    first = collect(home, store)
    assert (first.stored, first.unchanged) == (1, 0)
    (kept,) = store.sessions()
    log_of(home).chmod(0)
    again = collect(home, Store(tmp_path / "store"))
    assert (again.stored, again.unchanged, again.sessions) == (0, again.sources, 0)
    log_of(home).chmod(0o644)
    # One more record: the session is read whole again.
    record = {
        "type": "user", "uuid": "new", "parentUuid": None, "sessionId": log_of(home).stem,
        "message": {"role": "user", "content": "One thing more."},
    }  # fmt: skip
    with log_of(home).open("a") as file:
        file.write("\n" + json.dumps(record) + "\n")
    assert collect(home, Store(tmp_path / "store")).stored == 1
    (grown,) = Store(tmp_path / "store").sessions()
    assert grown.events[-1].text == "One thing more."
    assert len(grown.events) > len(kept.events)


def test_a_log_that_was_rewritten_leaves_what_was_kept_of_it(home: Path, tmp_path: Path):
    store = Store(tmp_path / "store")
    collect(home, store)
    log = log_of(home)
    log.write_text(log.read_text().replace("user", "user ", 1)[:-200])
    done = collect(home, store)
    assert done.rewritten == [log]
    assert len(list(store.sessions())) == 2
    log.unlink()
    kept = {session.to_json() for session in store.sessions()}
    assert collect(home, store).gone == [log]
    # Its sub-agent's log stands alone now; what was kept stays.
    assert {session.to_json() for session in store.sessions()} > kept


def test_no_credential_is_written_and_large_texts_are_kept_whole(tmp_path: Path):
    import random

    rule = next(rule for rule in read_rules() if rule.id == "github_token")
    token = drawn(rule, random.Random(4))
    large = "All of it matters. " * 20_000
    session = Session.of(
        "../../etc/passwd",
        [Event("0", "user_message", f"use {token}"), Event("1", "assistant_message", large)],
        agent="claude-code",
    )
    store = Store(tmp_path / "store")
    assert store.put(session)
    assert not store.put(session)
    written = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert all(token.encode() not in path.read_bytes() for path in written)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in written)
    assert {path.relative_to(tmp_path / "store").parts[0] for path in written} == {
        "sessions", "texts",
    }  # fmt: skip
    kept = store.get("claude-code", "../../etc/passwd")
    assert kept.events[1].text == large
    assert "use " in kept.events[0].text
    # A kept text that was changed is told, not believed.
    (text,) = [path for path in written if "texts" in path.parts]
    assert text.name == hashlib.sha256(large.encode()).hexdigest()
    text.write_text("something else")
    with pytest.raises(DataError, match="is not what was kept"):
        store.get("claude-code", "../../etc/passwd")


def test_a_database_in_use_is_read_without_touching_it(tmp_path: Path):
    path = tmp_path / "state.vscdb"
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (k TEXT, v BLOB)")
    writer.execute("INSERT INTO t VALUES ('a', 'one')")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES ('b', 'not yet')")
    before = path.read_bytes()
    with snapshot(path) as copy:
        assert list(rows(copy, "SELECT k, v FROM t")) == [("a", "one")]
    assert path.read_bytes() == before
    writer.execute("COMMIT")
    with snapshot(path) as copy:
        assert len(list(rows(copy, "SELECT k FROM t"))) == 2
    # Another program holds it alone.
    writer.execute("PRAGMA locking_mode = EXCLUSIVE")
    writer.execute("BEGIN EXCLUSIVE")
    with snapshot(path) as copy:
        assert len(list(rows(copy, "SELECT k FROM t"))) == 2
    writer.close()


def test_what_is_left_of_a_damaged_database_is_read(tmp_path: Path):
    path = tmp_path / "state.vscdb"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (k TEXT, v TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?)", ((str(n), "x" * 900) for n in range(200)))
    db.close()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 8_192] = b"\xff" * 8_192
    path.write_bytes(raw)
    damaged: list[str] = []
    with snapshot(path) as copy:
        read = list(rows(copy, "SELECT k FROM t", damaged=damaged))
    assert 0 < len(read) < 200
    assert damaged


def test_two_collections_at_once_leave_one_whole_store(home: Path, tmp_path: Path):
    stores = [Store(tmp_path / "store") for _ in range(2)]
    threads = [threading.Thread(target=collect, args=(home, store)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(Store(tmp_path / "store").sessions())) == 1
    assert not list((tmp_path / "store").rglob(".part-*"))


def test_an_inventory_says_which_server_skill_and_rule_changed(tmp_path: Path):
    home = tmp_path
    servers = {"files": {"command": "npx", "args": ["server-files", "/srv"]}}
    (home / ".claude.json").write_text(json.dumps({"mcpServers": servers}))
    skill = home / ".claude" / "skills" / "tidy" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("Tidy up.")
    before = inventory(home)
    assert {(item.sort, item.name) for item in before} >= {("mcp_server", "files"), ("skill", "")}
    assert compare(before, inventory(home)) == ((), (), ())
    servers["files"]["args"] = ["server-files", "/"]
    servers["mail"] = {"url": "https://mail.example/mcp"}
    (home / ".claude.json").write_text(json.dumps({"mcpServers": servers}))
    skill.unlink()
    changes = compare(before, inventory(home))
    assert [item.name for item in changes.added] == ["mail"]
    assert [item.sort for item in changes.removed] == ["skill"]
    assert [
        (old.name, "/srv" in old.shown, "/srv" in new.shown) for old, new in changes.changed
    ] == [("files", True, False)]
