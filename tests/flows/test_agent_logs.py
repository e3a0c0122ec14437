"""`loom agent verify|repair|import`: damaged logs and exports as a user meets them."""

from __future__ import annotations

import io
import sqlite3
import sys
from pathlib import Path

import pytest

from models.agents.store import new_key
from tests.flows.agent_words import Loom, Said, saying
from tests.models.agents.serving import call, script


@pytest.fixture
def loom(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Loom:
    """`loom agent` on a home of its own."""
    say = saying(capfd, monkeypatch)

    def run(command: str, *words: str | Path, home: str = "home") -> Said:
        return say(command, "--home", tmp_path / home, *words)

    return run


@pytest.fixture
def talk(loom: Loom, tmp_path: Path) -> Path:
    """A conversation `a` of ten events and more; returns its file."""
    replies = [call("glob", pattern="*"), "Done.", "Again."]
    words = ["go", "--model", script(tmp_path, replies), "--id", "a", "--local"]
    assert loom("run", *words).code == 0
    return tmp_path / "home" / "a.conversation"


def damage(path: Path, seq: int) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE event SET ts = ts + 1 WHERE seq = ?", (seq,))
    db.close()


def test_verify_says_what_is_wrong_and_where_and_exits_with_one(loom: Loom, talk: Path):
    sound = loom("verify", "a")
    assert (sound.code, sound.out.startswith("a: sound; ")) == (0, True)
    damage(talk, 5)
    damage(talk, 8)
    said = loom("verify", "a")
    assert said.code == 1
    first, *rest = said.out.splitlines()
    assert first.startswith("a: DAMAGED; ")
    assert first.endswith(" events can be read, the first 4 are sound")
    assert [line[:38] for line in rest] == [
        "  event 5 is not as it was written: it",
        "  event 8 is not as it was written: it",
    ]
    *findings, checked = loom("verify", "a", "--json").lines
    assert [(f["type"], f["source"], f["seq"]) for f in findings] == [
        ("finding", "a", 5), ("finding", "a", 8),
    ]  # fmt: skip
    assert (checked["type"], checked["sound"], checked["intact_seq"]) == ("checked", False, 4)
    assert checked["largest_body"]["bytes"] <= checked["body_bytes"]


def test_whatever_reads_a_whole_log_notices_a_changed_state_and_a_changed_event(
    loom: Loom, talk: Path
):
    with sqlite3.connect(talk) as db:
        db.execute("UPDATE state SET json = CAST(replace(json, 'Done.', 'Gone.') AS BLOB)")
    db.close()
    told = "the state is not what the events add up to: final"
    assert told in loom("verify", "a").out
    assert loom("show", "a", "--json").lines[0]["damage"]["why"] == told
    for words in (["export", "a"], ["fork", "a", "--id", "b"]):
        said = loom(*words)
        assert (said.code, told in said.err, "`loom agent repair a`" in said.err) == (2, True, True)
    # Its events are sound, and the copy's state is made of them.
    assert loom("fork", "a", "--at", "6", "--id", "c").code == 0
    assert loom("verify", "c").code == 0
    last = len(loom("replay", "a", "--json").lines)
    damage(talk, last)
    changed = loom("fork", "a", "--id", "d")
    assert (changed.code, f"damaged after event {last - 1}" in changed.err) == (2, True)
    assert [row["id"] for row in loom("ls", "--json").lines] == ["c", "a"]


def test_verify_without_names_checks_all_and_says_what_it_cannot_open(
    loom: Loom, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert loom("fork", "a", "--id", "b").code == 0
    assert [row["source"] for row in loom("verify", "--json").lines] == ["a", "b"]
    monkeypatch.setenv("LOOM_AGENTS_STORE_KEY", new_key())
    assert loom("run", "hi", "--model", script(tmp_path, ["Hi."]), "--id", "shut").code == 0
    monkeypatch.delenv("LOOM_AGENTS_STORE_KEY")
    locked = loom("verify")
    assert (locked.code, "not checked, for this key does not open them: shut" in locked.err) == (
        2, True,
    )  # fmt: skip
    assert "is encrypted; open its store with the key" in loom("verify", "shut").err
    (talk.parent / "cut.conversation").write_bytes(b"")
    said = loom("verify")
    assert said.code == 1
    assert "cut: DAMAGED; 0 events can be read" in said.out
    assert loom("verify", "nobody").code == 2
    assert loom("verify", home="nowhere").code == 0


def test_verify_and_import_take_exports(loom: Loom, talk: Path, tmp_path: Path):
    file = tmp_path / "a.jsonl"
    assert loom("export", "a", "--out", file).code == 0
    assert loom("verify", file).out.startswith(f"{file}: sound; ")
    text = file.read_text()
    file.write_text(text.replace("Done.", "Gone."))
    said = loom("verify", file)
    assert (said.code, said.out.count("is not as it was written")) == (1, 2)
    file.write_text("no export\n")
    assert (loom("verify", file).code, "no export" in loom("verify", file).err) == (2, True)
    assert loom("verify", tmp_path / "nowhere.jsonl").code == 2
    assert loom("import", tmp_path).code == 2


def test_an_export_comes_back_byte_for_byte(
    loom: Loom, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "a.jsonl"
    assert loom("export", "a", "--out", file).code == 0
    said = loom("import", file, home="other")
    assert (said.code, said.out) == (0, "a\n")
    assert loom("export", "a", home="other").out == file.read_text()
    again = loom("import", file, home="other")
    assert (again.code, "there is a conversation 'a'" in again.err) == (2, True)
    resumed = loom("resume", "a", "go on", home="other")
    assert (resumed.code, "kept no agent for it" in resumed.err) == (2, True)
    assert "loom agent resume a --model ADDRESS" in resumed.err
    assert loom("resume", "a", "on", "--agent", tmp_path / "none.yaml", home="other").code == 2
    words = ["--model", script(tmp_path, ["With another model."])]
    assert loom("resume", "a", "on", *words, home="other").out == "> on\nWith another model.\n"

    class Standard:
        buffer = io.BytesIO(file.read_bytes())

    monkeypatch.setattr(sys, "stdin", Standard)
    model = script(tmp_path, ["More."])
    named = loom("import", "-", "--id", "b", "--model", model, "--local", "--json", home="other")
    events = len(file.read_text().splitlines()) - 1
    assert named.lines == [
        {"type": "imported", "conversation": "b", "events": events, "wrong": None}
    ]
    assert loom("resume", "b", "go on", home="other").out == "> go on\nMore.\n"


def test_an_export_that_is_damaged_is_taken_in_only_when_asked(
    loom: Loom, talk: Path, tmp_path: Path
):
    file = tmp_path / "a.jsonl"
    assert loom("export", "a", "--out", file).code == 0
    file.write_bytes(file.read_bytes()[:-30])
    whole = loom("import", file, home="other")
    assert (whole.code, "is torn" in whole.err) == (2, True)
    assert loom("ls", "--json", home="other").lines == []
    bad = loom("import", file, "--partial", "--model", "scripted:nowhere", home="other")
    assert bad.code == 2
    assert loom("ls", "--json", home="other").lines == []
    part = loom("import", file, "--partial", home="other")
    assert (part.code, part.out, "is torn" in part.err) == (0, "a\n", True)
    assert loom("verify", "a", home="other").code == 0
    shown = loom("show", "a", "--json", home="other").lines[0]
    assert shown["seq"] == len(file.read_text().splitlines()) - 2


def test_repair_makes_a_copy_of_what_is_sound_and_says_what_is_lost(loom: Loom, talk: Path):
    nothing = loom("repair", "a")
    assert (nothing.code, nothing.out) == (0, "a is sound; there is nothing to repair\n")
    kinds = [row["kind"] for row in loom("replay", "a", "--json").lines]
    seq = kinds.index("result") + 1
    damage(talk, seq)
    before = talk.read_bytes()
    said = loom("repair", "a")
    assert said.code == 0, said.err
    assert said.out.startswith(f"a-repaired: {seq - 1} events of a, which stays as it was\n")
    assert f"  event {seq} is not as it was written" in said.out
    assert f"  lost: event {seq} and all after it; of those could be read: " in said.out
    assert "1 result" in said.out
    assert "  without a result now: " in said.out
    assert talk.read_bytes() == before
    assert loom("verify", "a").code == 1
    assert loom("verify", "a-repaired").code == 0
    # A glob may run again, so the copy goes on where the log is sound.
    assert loom("resume", "a-repaired").code == 0

    again = loom("repair", "a", "--id", "c", "--json").lines[0]
    assert (again["type"], again["copy"], again["events"]) == ("repaired", "c", seq - 1)
    assert [lost["seq"] for lost in again["lost"]] == [*range(seq, len(kinds) + 1)]
    assert [lost["kind"] for lost in again["lost"]] == kinds[seq - 1 :]
    assert again["no_agent"] == ""
    assert loom("repair", "a").out.startswith("a-repaired-2: ")
    assert loom("repair", "a", "--id", "c").code == 2
    assert loom("repair", "nobody").code == 2


def test_repair_of_a_state_loses_nothing_and_of_nothing_sound_is_refused(loom: Loom, talk: Path):
    with sqlite3.connect(talk) as db:
        db.execute("UPDATE state SET seq = 3")
    db.close()
    (talk.parent / "a.agent.json").write_text("{}")
    said = loom("repair", "a")
    assert "lost: nothing; tables and state were made anew from the events" in said.out
    assert "it can be looked at and not gone on with: the agent of 'a' cannot be read" in said.out
    damage(talk, 1)
    refused = loom("repair", "a", "--id", "x")
    assert (refused.code, "nothing of conversation 'a' is sound" in refused.err) == (2, True)
    assert loom("verify", "x").code == 2
