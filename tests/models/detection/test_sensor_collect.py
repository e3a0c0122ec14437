"""All formats of one home folder; crashes, full disks, forged references; broken samples."""

import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from models.detection.secrets.generate import drawn
from models.detection.secrets.rules import read_rules
from models.detection.sensor import Store, collect, fuzz, read_log, redaction
from models.detection.sensor import store as storing
from models.detection.session import Event, Session, ToolCall
from models.errors import DataError, StorageFullError
from tests.models.detection.sensor_cases import EXPECTED, home_of

RULES = {rule.id: rule for rule in read_rules()}
TOKEN = drawn(RULES["github_token"], random.Random(4))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return home_of(tmp_path / "home")


def claude_log(home: Path) -> Path:
    (log,) = (home / ".claude/projects/-home-ada-ledger").glob("*.jsonl")
    return log


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_format_is_found_where_its_program_keeps_it(home, tmp_path):
    store = Store(tmp_path / "store")
    done = collect(home, store)
    sessions = {(s.agent, s.id) for s in store.sessions()}
    named = {"openhands": ("openhands", "c1"), "mcp_tap": ("mcp-tap", "notes")}
    left_out = ("codex_old", "loom_agents")
    for name, expected in EXPECTED.items():
        if name not in left_out:
            assert named.get(name, (expected["agent"], expected["session"])) in sessions, name
    assert done.sources == 8
    assert done.sessions == done.stored == len(sessions)
    assert done.unknown == {
        "holo-deck": 1, "quantum_flux": 1, "bubble of type 7": 1, "hologram": 1,
        "WarpDriveEvent": 1, "teleport/now": 1,
    }  # fmt: skip
    assert done.quarantined == 1


def test_what_did_not_change_is_not_opened(home, tmp_path, monkeypatch):
    collect(home, Store(tmp_path / "store"))
    opened: list[Path] = []
    plain = Path.open

    def noting(path: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(path)
        return plain(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", noting)
    again = collect(home, Store(tmp_path / "store"))
    assert again.unchanged == again.sources == 8
    assert [path for path in opened if path.is_relative_to(home)] == []


def test_a_crash_at_any_moment_leaves_whole_sessions_and_the_next_collection_finishes(
    home, tmp_path, monkeypatch
):
    collect(home, Store(tmp_path / "reference"))
    wanted = everything(tmp_path / "reference")
    plain = os.replace
    for moment in range(1, 40, 3):
        folder, calls = tmp_path / f"store{moment}", iter(range(1, 10**6))

        def dying(*args: Any, calls: Any = calls, moment: int = moment) -> None:
            if next(calls) >= moment:
                raise KeyboardInterrupt
            plain(*args)

        monkeypatch.setattr(storing.os, "replace", dying)
        try:
            collect(home, Store(folder))
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            monkeypatch.setattr(storing.os, "replace", plain)
        assert all(session.events for session in Store(folder).sessions())
        collect(home, Store(folder))
        assert everything(folder).keys() == wanted.keys()
        assert not list(folder.rglob(".part-*"))
    assert moment > 7


def test_a_full_disk_is_a_clear_error_and_what_was_stored_is_whole(home, tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storing.os, "fsync", full)
    with pytest.raises(StorageFullError, match=r"no space left in .*; free some"):
        collect(home, Store(tmp_path / "store"))
    assert everything(tmp_path / "store") == {}


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="is no folder; name the home folder"):
        collect(tmp_path / "nobody", Store(tmp_path / "store"))


def test_a_rewritten_log_is_told_once_and_a_removed_one_is_gone(home, tmp_path):
    store, log = Store(tmp_path / "store"), claude_log(home)
    collect(home, store)
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:6]))
    assert collect(home, store).rewritten == [log]
    kept = sorted((tmp_path / "store/sessions/claude-code").iterdir())
    assert sorted(".before-" in path.name for path in kept) == [False, True]
    assert collect(home, store).rewritten == []
    log.unlink()
    assert collect(home, store).gone == [log]
    assert set((tmp_path / "store/sessions/claude-code").iterdir()) >= set(kept)


def test_credentials_are_struck_out_wherever_they_stand(home, tmp_path):
    record = {
        "type": "assistant", "uuid": "n", "parentUuid": "a10", "sessionId": claude_log(home).stem,
        "cwd": f"/home/{TOKEN}",
        "message": {"role": "assistant", "content": [
            {"type": "thinking", "thinking": f"it is {TOKEN}"},
            {"type": "tool_use", "id": "t", "name": "Bash",
             "input": {"env": {TOKEN: ["x", {"deep": f"Bearer {TOKEN}"}]}}},
        ]},
    }  # fmt: skip
    bad = b'{"broken": "' + TOKEN.encode() + b'"'
    with claude_log(home).open("ab") as file:
        file.write(b"\n" + json.dumps(record).encode() + b"\n" + bad + b"\n")
    store = Store(tmp_path / "store")
    assert collect(home, store).quarantined == 3  # ours, the cut last line, and Cline's
    written = everything(tmp_path / "store")
    assert not [name for name, raw in written.items() if TOKEN.encode() in raw]
    asides = [raw for name, raw in written.items() if name.startswith("aside")]
    assert any(raw.startswith(b'{"broken": "[github_token:') for raw in asides)
    session = store.get("claude-code", claude_log(home).stem)
    (call,) = [call for _, call in session.calls() if call.id == "t"]
    assert "[github_token:" in json.dumps(call.arguments)


def test_a_credential_across_the_windows_of_a_long_line_is_struck_out(tmp_path, monkeypatch):
    monkeypatch.setattr(redaction, "_WINDOW_BYTES", 40_000)
    line = b"x " * 19_990 + TOKEN.encode() + b" y" * 30_000
    (tmp_path / "log").write_bytes(b"first\n" + line + b"\nlast\n")
    store = Store(tmp_path / "store")
    store.put_aside(tmp_path / "log", 2, "d")
    kept = (tmp_path / "store/aside/d").read_bytes()
    assert TOKEN.encode() not in kept
    assert kept.startswith(b"x " * 19_990 + b"[github_token:")
    assert kept.endswith(b" y" * 30_000)


def test_who_writes_a_reference_of_ours_gets_it_back_as_text(tmp_path):
    store = Store(tmp_path / "store")
    secret = store._put_text("somebody's large text " * 1_000)
    forged = Session.of(
        "s",
        [
            Event("1", "user_message", secret),
            Event("2", "tool_call", call=ToolCall("c", "x", arguments={"a": secret})),
        ],
        agent="x",
    )
    store.put(forged)
    assert store.get("x", "s") == forged


def test_a_store_of_older_parsers_is_read_anew(home, tmp_path, monkeypatch):
    collect(home, Store(tmp_path / "store"))
    monkeypatch.setattr(storing, "READERS", storing.READERS + 1)
    again = collect(home, Store(tmp_path / "store"))
    assert (again.unchanged, again.stored) == (0, 0)
    (tmp_path / "store" / "positions.json").write_text("{")
    assert collect(home, Store(tmp_path / "store")).unchanged == 0


def test_broken_samples_are_read_without_an_exception(tmp_path, capsys):
    arguments = ["--runs", "40", "--seed", "11", "--keep", str(tmp_path / "kept")]
    assert fuzz.main(arguments) == 0
    assert capsys.readouterr().out.count(" 0 crashes") == len(EXPECTED)


def test_a_parser_that_raises_or_hangs_is_found_and_its_log_kept(tmp_path, monkeypatch, capsys):
    class Failing:
        name = "failing"

        def source(self, path: Path) -> Path:
            return path

        def read(self, source: Path) -> list[Session]:
            if fuzz.HANG_S < 1:
                while True:
                    pass
            return [{}["x"]]

    monkeypatch.setattr(fuzz, "ALL", (Failing(),))
    assert fuzz.main(["--runs", "1", "--keep", str(tmp_path / "kept")]) == 1
    assert "KeyError" in capsys.readouterr().err
    assert list((tmp_path / "kept").iterdir())
    monkeypatch.setattr(fuzz, "HANG_S", 0.2)
    assert fuzz.main(["--runs", "1", "--keep", str(tmp_path / "kept")]) == 1
    assert "HangError: more than" in capsys.readouterr().err


def test_a_stored_session_is_the_one_that_was_read(home, tmp_path):
    store = Store(tmp_path / "store")
    collect(home, store)
    (session,) = read_log(claude_log(home))
    assert store.get("claude-code", session.id) == session
