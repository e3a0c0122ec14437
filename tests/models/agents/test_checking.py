"""Checks of whole logs: what is wrong and where, and copies of what is sound."""

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from models.agents.command.mending import take_in
from models.agents.errors import CorruptLogError, TakenError
from models.agents.events import Note, Result, new_event
from models.agents.home import AgentHome
from models.agents.store import SqliteStore, new_key
from models.agents.store.checking import check_lines
from models.agents.store.jsonl import export, export_lines
from models.agents.store.log import EMPTY_CHAIN, link
from tests.models.agents.logs import cycle, replayed, say, tamper

LONG = 20_000


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    """One conversation of 13 events; the results, each third, have long bodies."""
    made = SqliteStore(tmp_path / "talks", "relaxed")
    log = made.open("talk")
    log.commit([say("go"), *(event for n in range(4) for event in cycle(n, LONG + n))])
    log.close()
    return made


def found(store: SqliteStore) -> list[tuple[int, str]]:
    return [tuple(finding) for finding in store.check("talk").findings]


def test_a_sound_log_is_summed_up(store: SqliteStore):
    checked = store.check("talk")
    assert checked.findings == ()
    assert checked.intact_seq == 13
    assert [record.kind for record in checked.read[:4]] == ["user", "answer", "intent", "result"]
    log = store.open("talk")
    sizes = {record.seq: len(record.body) for record in log.records()}
    assert checked.body_bytes == sum(sizes.values())
    assert checked.largest == (13, sizes[13])
    # Also while somebody writes on, after branches, and of a copy.
    log.commit([new_event(Note(), parent=log.events()[2].id), say("on")])
    assert store.check("talk").findings == ()
    log.close()


HASH = "is not as it was written: its hash does not follow on the last"


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("UPDATE event SET ts = ts + 1 WHERE seq IN (3, 9)", [(3, HASH), (9, HASH)]),
        ("UPDATE event SET body = CAST('{}' AS BLOB) WHERE seq = 2", [(2, HASH)]),
        ("UPDATE event SET chain = zeroblob(32) WHERE seq = 6", [(6, HASH), (7, HASH)]),
        ("UPDATE blob SET data = CAST('{}' AS BLOB)", [(s, HASH) for s in (4, 7, 10, 13)]),
        ("UPDATE state SET seq = 12", [(0, "the state is of event 12, and the last event is 13")]),
        (
            "UPDATE state SET json = CAST(replace(json, '\"steps\":4', '\"steps\":5') AS BLOB)",
            [(0, "the state is not what the events add up to: steps")],
        ),
        ("UPDATE event SET body = 'text' WHERE seq = 2", [(2, "its body or hash is gone")]),
        ("UPDATE event SET blob = NULL WHERE seq = 4", [(4, "its body or hash is gone")]),
        ("DELETE FROM result", [(0, f"call 'c{n}': the table of results says") for n in range(4)]),
        ("UPDATE intent SET seq = 99 WHERE call_id = 'c1'", [(0, "event 99, the events say 6")]),
        ("DELETE FROM event WHERE seq = 13", [(13, "is missing: the state is of event 13")]),
    ],
)
def test_each_change_is_found_in_its_place(
    store: SqliteStore, sql: str, wanted: list[tuple[int, str]]
):
    tamper(store.path("talk"), sql)
    findings = found(store)
    assert [seq for seq, _ in findings] == [seq for seq, _ in wanted], findings
    for (_, what), (_, part) in zip(findings, wanted, strict=True):
        assert part in what


def test_events_that_are_gone_are_told_from_those_that_are_changed(store: SqliteStore):
    tamper(store.path("talk"), "DELETE FROM event WHERE seq IN (5, 8, 9)")
    assert [finding for finding in found(store) if finding[0]] == [
        (5, "is missing"),
        (8, "is missing, with all up to event 9"),
    ]
    # What stands behind a gap cannot be held against its hash, and what follows on that can.
    tamper(store.path("talk"), "UPDATE event SET ts = 0 WHERE seq = 11")
    assert (11, HASH) in found(store)
    assert store.check("talk").intact_seq == 4


def test_lengths_and_names_of_long_bodies_are_checked(store: SqliteStore):
    path = store.path("talk")
    # The same body, kept where only short ones belong: the hash cannot tell.
    inline = "UPDATE event SET body = (SELECT data FROM blob WHERE hash = blob), blob = NULL"
    tamper(path, f"{inline} WHERE seq = 4")
    ((seq, what),) = found(store)
    assert (seq, "bytes in its row; those above 8,192 bytes" in what) == (4, True)
    tamper(path, "PRAGMA foreign_keys = OFF")
    tamper(path, "UPDATE blob SET hash = x'00' WHERE hash = (SELECT blob FROM event WHERE seq = 7)")
    tamper(path, "UPDATE event SET blob = x'00' WHERE seq = 7")
    assert (7, "has a body that is kept under another body's name") in found(store)


def test_a_rule_that_hashes_do_not_know_is_held_by_the_events_themselves(store: SqliteStore):
    """A log whose hashes were all made anew, with a second result of a call in it."""
    log = store.open("talk")
    lines = list(export_lines(log))[1:]
    second = new_event(Result("c1", "ping", "again"))
    chain = EMPTY_CHAIN
    for record in log.records():
        chain = link(chain, record)
    last = log.records()[-1]
    log.close()
    forged = last._replace(seq=14, id=second.id, parent=last.id, call_id="c1",
                           body=b'{"call_id":"c1","name":"ping","text":"again"}')  # fmt: skip
    line = b'%s,"chain":"%s"}\n' % (forged.wire[:-1], link(chain, forged).hex().encode())
    (finding,) = check_lines([*lines, line]).findings
    assert tuple(finding) == (14, "is a second result of call 'c1', after 7")
    unasked = forged._replace(call_id="c9", body=forged.body.replace(b"c1", b"c9"))
    line = b'%s,"chain":"%s"}\n' % (unasked.wire[:-1], link(chain, unasked).hex().encode())
    (finding,) = check_lines([*lines, line]).findings
    assert "is the result of call 'c9', which nobody asked for" in finding.what


def test_an_export_is_checked_line_by_line(store: SqliteStore):
    log = store.open("talk")
    lines = list(export_lines(log))[1:]
    log.close()
    assert check_lines(lines).findings == ()
    lines[2] = lines[2].replace(b"ping", b"pong")
    lines[12] = lines[12][:-20]
    checked = check_lines(lines)
    assert [finding.seq for finding in checked.findings] == [3, 13]
    assert "line 14 is torn" in checked.findings[1].what
    assert (len(checked.read), checked.intact_seq) == (12, 2)
    wrong = lines[0].replace(b'"seq":1', b'"seq":"1"')
    assert "a number where a word belongs" in check_lines([wrong]).findings[0].what
    assert check_lines([lines[0], lines[0]]).findings[0].what.endswith("says that it is event 1)")


def test_an_encrypted_log_is_checked_with_its_key(tmp_path: Path):
    store = SqliteStore(tmp_path, "relaxed", new_key())
    log = store.open("talk")
    log.commit([say("go"), *cycle(1, LONG), *cycle(2, 10)])
    log.close()
    assert store.check("talk").findings == ()
    tamper(store.path("talk"), "UPDATE event SET body = zeroblob(60) WHERE seq = 3")
    checked = store.check("talk")
    ((seq, what),) = [tuple(finding) for finding in checked.findings if finding.seq == 3]
    assert (seq, what) == (3, "cannot be read (a value that should be sealed is not)")
    store.salvage("talk", "copy")
    copy = store.open("copy")
    assert (copy.state.seq, copy.verify()) == (2, None)
    assert b"x" * 50 not in store.path("copy").read_bytes()


def test_garbage_in_a_file_is_found_and_what_lies_before_is_read(tmp_path: Path):
    store = SqliteStore(tmp_path, "relaxed")
    log = store.open("talk")
    log.commit([event for n in range(200) for event in cycle(n, 1_000)])
    log.close()
    path = store.path("talk")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 60_000)
        file.write(b"\xa5" * 59_000)
    checked = store.check("talk")
    assert 0 < checked.intact_seq < 600
    assert checked.findings[0].seq == 0
    before = path.read_bytes()
    store.salvage("talk", "copy")
    copy = store.open("copy")
    assert (copy.state.seq, copy.damage, copy.verify()) == (checked.intact_seq, None, None)
    assert path.read_bytes() == before


def test_a_copy_has_what_is_sound_and_the_damaged_log_stays_byte_for_byte(
    store: SqliteStore,
):
    path = store.path("talk")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE event SET ts = 0 WHERE seq = 9")
    # As a crash leaves it: with a write-ahead log, which holds the change and nobody has played.
    files = {name: Path(f"{path}{name}").read_bytes() for name in ("", "-wal")}
    db.close()
    for name, content in files.items():
        Path(f"{path}{name}").write_bytes(content)
    before = _digests(path)
    checked = store.salvage("talk", "copy")
    assert checked.intact_seq == 8
    assert [record.seq for record in checked.read[8:]] == [9, 10, 11, 12, 13]
    assert _digests(path) == before
    copy = store.open("copy")
    assert (copy.state.seq, copy.verify(), copy.state) == (8, None, replayed(copy))
    assert copy.commit([say("on")])[0].seq == 9
    with pytest.raises(TakenError, match="there is a conversation 'copy' already"):
        store.salvage("talk", "copy")


def _digests(path: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.parent.glob(f"{path.name}*")
    }


def test_what_somebody_else_began_meanwhile_is_theirs(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = AgentHome(store.folder)
    export_to = tmp_path / "talk.jsonl"
    with closing(store.open("talk")) as log:
        export(log, export_to)
    tamper(store.path("talk"), "UPDATE event SET ts = 0 WHERE seq = 9")
    mine, theirs = store.open("copy"), store.open("copy")
    theirs.commit([say("theirs")])
    # Each looked before the other began, and found nothing.
    with pytest.raises(TakenError, match="has 1 events already"):
        mine.copy_in(store.open("talk").records())
    monkeypatch.setattr(SqliteStore, "exists", lambda self, name: name != "copy")
    with pytest.raises(TakenError):
        store.salvage("talk", "copy")
    with pytest.raises(TakenError), export_to.open("rb") as lines:
        take_in(home, lines, "copy")
    assert [event.body.message.text for event in store.open("copy").events()] == ["theirs"]


def test_a_sound_log_is_not_copied_and_one_with_nothing_sound_is_refused(store: SqliteStore):
    assert store.salvage("talk", "copy").findings == ()
    assert not store.exists("copy")
    tamper(store.path("talk"), "UPDATE event SET ts = 0 WHERE seq = 1")
    with pytest.raises(CorruptLogError, match="nothing of conversation 'talk' is sound"):
        store.salvage("talk", "copy")
    os.truncate(store.path("talk"), 0)
    assert "is empty (0 bytes)" in found(store)[0][1]
    with pytest.raises(CorruptLogError, match=r"is empty \(0 bytes\)"):
        store.salvage("talk", "copy")
    assert not store.exists("copy")


def test_a_body_that_is_gone_is_damage_and_not_a_crash_of_verify(store: SqliteStore):
    log = store.open("talk")
    tamper(store.path("talk"), "UPDATE event SET blob = NULL WHERE seq = 4")
    assert log.verify().intact_seq == 3
    assert log.repair() == 3
