"""What a store keeps beside its rules: places, branches, sums, lists, odd files."""

import asyncio
import errno
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.agents.errors import (
    LogError,
    NoConversationError,
)
from models.agents.events import (
    Approved,
    Event,
    Note,
    Rewound,
    Started,
    Status,
    Unknown,
    new_event,
)
from models.agents.journal import Journal
from models.agents.state import State
from models.agents.store import Log, MemoryStore, SqliteStore, Store
from models.agents.store.sqlite_log import SqliteLog
from tests.models.agents.logs import cycle, replayed, say, tamper


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "talks") if request.param == "sqlite" else MemoryStore()


def test_a_log_takes_in_what_others_append(tmp_path: Path):
    store = SqliteStore(tmp_path)
    mine, theirs = store.open("talk"), store.open("talk")
    heard: list[str] = []
    mine.listen(lambda events: heard.extend(event.id for event in events))
    first = theirs.commit([say("one")])
    assert mine.refresh() == first
    assert mine.refresh() == []
    second = theirs.commit(cycle(1))
    third = mine.commit([say("two")])
    assert third[0].seq == 5
    assert heard == [event.id for event in (*first, *second, *third)]
    assert mine.state == replayed(mine)


def test_reading_by_place_kind_and_span(store: Store):
    log = store.open("talk")
    log.commit([say("one"), *cycle(1), say("two"), *cycle(2)])
    assert [event.seq for event in log.events(after=3, limit=2)] == [4, 5]
    assert [event.seq for event in log.events(kinds=["user", "result"])] == [1, 4, 5, 8]
    assert [event.seq for event in log.spans([(2, 3), (7, 9)], ["answer", "intent"])] == [2, 3, 7]


def test_branches_are_spans_that_lead_to_an_event():
    log = MemoryStore().open("talk")
    events = log.commit([say(str(n)) for n in range(1, 7)])
    log.commit([new_event(Rewound(2), parent=events[1].id), say("8")])
    log.commit([new_event(Rewound(5), parent=events[4].id), say("10")])
    state = log.state
    assert state.branch() == [(1, 5), (9, 10)]
    assert state.branch(8) == [(1, 2), (7, 8)]
    assert state.branch(6) == [(1, 6)]
    assert state.is_on_branch(5)
    assert not state.is_on_branch(8)


def test_a_call_of_an_abandoned_branch_is_not_open():
    log = MemoryStore().open("talk")
    first = log.commit([say("one")])[0]
    log.commit(cycle(1)[:2])
    assert [call.call_id for call in log.state.open_calls()] == ["c1"]
    log.commit([new_event(Rewound(1), parent=first.id)])
    assert log.state.open_calls() == []


def test_state_sums_cost_steps_and_calls():
    log = MemoryStore().open("talk")
    log.commit([*cycle(1), *cycle(2)[:2], new_event(Approved("c2", "d"))])
    state = log.state
    assert (state.steps, state.cost_usd, state.prompt_tokens, state.completion_tokens) == (
        2,
        1.0,
        20,
        10,
    )
    assert state.calls["c2"].approved == "d"
    assert State.from_json(state.to_json()) == state


def test_large_bodies_are_kept_once(tmp_path: Path):
    store = SqliteStore(tmp_path)
    log = store.open("talk")
    for number in range(5):
        log.commit([new_event(Note("big", {"text": "y" * 50_000}))])
        assert log.events(after=number)[0].body.data == {"text": "y" * 50_000}
    with sqlite3.connect(store.path("talk")) as db:
        assert db.execute("SELECT count(*), sum(length(data)) FROM blob").fetchone()[0] == 1


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a..b", ".hidden", "x" * 201, "ü"])
def test_an_id_that_is_no_file_name_is_refused(store: Store, name: str):
    with pytest.raises(LogError, match="cannot name a conversation"):
        store.open(name)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LogError, match="no conversations under"):
        SqliteStore(tmp_path / "file" / "talks").open("talk")


def test_listing_reads_changed_files_only(tmp_path: Path):
    store = SqliteStore(tmp_path)
    logs = [store.open(f"talk-{n}") for n in range(5)]
    for number, log in enumerate(logs):
        log.commit([new_event(Started({})), *cycle(number)])
    assert [row.id for row in store.list()] == [f"talk-{n}" for n in (4, 3, 2, 1, 0)]
    read = store._catalog.read
    logs[1].commit([new_event(Status("finished", "said so"))])
    first = store.list()[0]
    assert (first.id, first.phase, first.reason, first.steps, first.cost_usd) == (
        "talk-1",
        "finished",
        "said so",
        1,
        0.5,
    )
    assert store._catalog.read == read + 1
    store.delete("talk-1")
    assert len(store.list()) == 4
    (tmp_path / "catalogue.db").unlink()
    assert len(SqliteStore(tmp_path).list()) == 4


def test_a_damaged_file_is_listed_with_its_damage(tmp_path: Path):
    store = SqliteStore(tmp_path)
    store.open("good").commit([say("hi")])
    (tmp_path / "bad.conversation").write_bytes(b"garbage" * 1000)
    rows = {row.id: row for row in store.list()}
    assert rows["bad"].damage == "file is not a database"
    assert rows["good"].damage == ""


def test_deleting_what_is_not_there_is_told(store: Store):
    with pytest.raises(NoConversationError, match="no conversation 'talk'"):
        store.delete("talk")


def test_the_gate_sees_every_body_before_it_is_stored(store: Store):
    log = store.open("talk")
    log.use_gate(lambda raw: raw.replace(b"hunter2", b"***") if b"hunter2" in raw else raw)
    stored = log.commit([say("the word is hunter2"), say("nothing here")])
    assert stored[0].body.message.text == "the word is ***"
    assert log.events() == stored


def test_group_mode_waits_for_one_sync_of_many_commits(tmp_path: Path):
    from models.agents.store import group

    log = SqliteStore(tmp_path, "group").open("talk")
    before = group.SHARED.syncs
    for number in range(20):
        log.commit(cycle(number))
    assert group.SHARED.syncs == before
    log.flush()
    log.flush()
    assert group.SHARED.syncs == before + 1


def test_who_gives_up_waiting_for_a_sync_leaves_the_others_none_the_worse(tmp_path: Path):
    store = SqliteStore(tmp_path, "group")
    logs = [store.open(f"talk-{number}") for number in range(4)]

    async def work() -> None:
        for _ in range(3):
            for log in logs:
                log.commit([say("go")])
            waits = [asyncio.create_task(Journal(log).flush()) for log in logs]
            await asyncio.sleep(0)
            waits[0].cancel()
            # Whose sync went down with that of the first would wait for ever.
            await asyncio.wait_for(asyncio.gather(*waits[1:]), 30)

    asyncio.run(work())


def test_nobody_is_told_that_a_commit_is_on_the_disk_while_another_still_brings_it_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from models.agents.store import group

    may_end, sync_file = threading.Event(), group._sync_file

    def slow(path: Path) -> None:
        assert may_end.wait(30)
        sync_file(path)

    monkeypatch.setattr(group, "_sync_file", slow)
    log = SqliteStore(tmp_path, "group").open("talk")
    log.commit([say("one")])
    first, second = log.flushing(), log.flushing()
    assert first is not None
    assert second is not None
    third = threading.Thread(target=log.flush)
    third.start()
    third.join(0.2)
    assert not first.done()
    assert not second.done()
    assert third.is_alive()
    may_end.set()
    third.join(30)
    assert first.result() is second.result() is log.flushing() is None


def test_a_sync_that_fails_is_told_to_all_who_ask_until_the_next_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from models.agents.store import group

    def broken(path: Path) -> None:
        raise OSError(errno.EIO, "the disk fails")

    log = SqliteStore(tmp_path, "group").open("talk")
    with monkeypatch.context() as patched:
        patched.setattr(group, "_sync_file", broken)
        log.commit([say("one")])
        with pytest.raises(OSError, match="the disk fails"):
            log.flush()
    with pytest.raises(OSError, match="the disk fails"):
        log.flush()
    assert isinstance(log.flushing().exception(), OSError)
    log.commit([say("two")])
    log.flush()
    log.close()


def test_an_event_of_a_kind_that_nobody_knows_is_kept_as_it_is(tmp_path: Path):
    store = SqliteStore(tmp_path)
    log = store.open("talk")
    log.commit([Event(Unknown("hologram", b'{"depth":[3, 4]}'), "agent", "h1")])
    found = store.open("talk").events()[0]
    assert (found.kind, found.body) == ("hologram", Unknown("hologram", b'{"depth":[3, 4]}'))


def test_a_file_of_a_later_format_is_refused(tmp_path: Path):
    store = SqliteStore(tmp_path)
    store.open("talk").close()
    tamper(store.path("talk"), "UPDATE meta SET format = 99")
    with pytest.raises(LogError, match="has format 99, this program reads up to 1"):
        store.open("talk")


def test_a_locked_file_is_told_and_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("models.agents.store.tables.BUSY_S", 0.05)
    store = SqliteStore(tmp_path)
    log = store.open("talk")
    other = sqlite3.connect(store.path("talk"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match="another process holds it"):
        log.commit([say("one")])
    other.execute("ROLLBACK")
    assert log.commit([say("one")])[0].seq == 1


def test_where_no_write_ahead_log_can_be_each_commit_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    connect = sqlite3.connect

    # A lock file instead of shared memory, as on some network file systems.
    def plain(path: Path, **options: object) -> sqlite3.Connection:
        return connect(f"file:{path}?vfs=unix-dotfile", uri=True, **options)

    monkeypatch.setattr("models.agents.store.tables.sqlite3.connect", plain)
    log = SqliteStore(tmp_path, "group").open("talk")
    assert log.durability == "strict"
    log.commit([say("one"), *cycle(1)])
    log.flush()
    log.close()
    again = SqliteStore(tmp_path, "group").open("talk")
    assert again.state.seq == 4
    assert again.verify() is None
    again.close()


def test_copying_into_a_log_with_events_is_refused(store: Store):
    log = store.open("a")
    log.commit([say("one")])
    with pytest.raises(LogError, match="copy into a new id"):
        log.copy_in(log.records())
    copy = store.open("b")
    copy.copy_in(log.records())
    assert copy.events() == log.events()
    assert copy.state == log.state
    assert isinstance(copy, SqliteLog) == isinstance(log, SqliteLog)


def test_threads_that_list_at_the_same_time_all_get_everything(tmp_path: Path):
    store = SqliteStore(tmp_path, "relaxed")
    for number in range(30):
        store.open(f"talk-{number}").close()
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda _: len(store.list()), range(16))]
    assert found == [30] * 16


def test_who_reads_while_another_thread_closes_is_told(tmp_path: Path):
    told: list[Exception] = []

    def read(log: Log) -> None:
        try:
            while True:
                log.has_call("none")
        except LogError as error:
            told.append(error)

    for number in range(20):
        log = SqliteStore(tmp_path, "relaxed").open(f"c{number}")
        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(read, log)
            log.close()
    assert len(told) == 80
    assert all("was closed" in str(error) for error in told)
