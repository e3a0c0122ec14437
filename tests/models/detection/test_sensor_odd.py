"""What stands in the way of a collection: odd paths, taken ids, vanished and damaged data."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.detection.config import DetectConfig
from models.detection.evaluation.labelled import holds_sessions, read_labelled
from models.detection.evaluation.sessions import DEV
from models.detection.gathering import gather, load, store_of
from models.detection.integrity.pins import Pins
from models.detection.integrity.scan import scan
from models.detection.secrets import SecretScanner
from models.detection.secrets.files import Coverage, files_of, scan_files
from models.detection.sensor import Store, collect, inventory, read_log
from models.detection.sensor.base import files_at
from models.errors import DataError
from models.settings import ROOT
from tests.models.detection.hostile_server import HEAD, TRICKS

LOGS = ROOT / "datasets" / "detection" / "agent_logs"
LONG = "x" * 300
PROJECTS = ".claude/projects"


def claude(home: Path, project: str, told: str, id: str = "s1") -> Path:
    log = home / PROJECTS / project / f"{id}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "type": "user", "uuid": "u1", "parentUuid": None, "sessionId": id,
        "message": {"role": "user", "content": told},
    }  # fmt: skip
    log.write_text(json.dumps(record) + "\n")
    return log


def sessions_file(file: Path, count: int, before: bytes = b"") -> Path:
    with gzip.open(DEV, "rb") as lines:
        file.write_bytes(before + b"".join(next(lines) for _ in range(count)))
    return file


def odd_ones(folder: Path, suffix: str) -> list[str]:
    """Make a link that is too long and a pipe; return their names."""
    os.symlink(LONG, folder / f"0-long{suffix}")
    os.mkfifo(folder / f"1-pipe{suffix}")
    return [f"0-long{suffix}", f"1-pipe{suffix}"]


# ---- paths that cannot be opened


def test_one_path_that_cannot_be_looked_at_hides_none_of_its_neighbours(tmp_path: Path):
    home = tmp_path / "home"
    claude(home, "-b", "hello")
    names = odd_ones(home / PROJECTS / "-b", ".jsonl")
    os.symlink(LONG, home / PROJECTS / "-a")
    done = collect(home, Store(tmp_path / "store"))
    assert (done.sources, done.stored) == (1, 1)
    told = "\n".join(done.unreadable)
    assert "-a: File name too long" in told
    assert f"{names[0]}: File name too long" in told
    assert f"{names[1]}: a named pipe" in told
    assert len(done.unreadable) == 3


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jsonl").write_text("{}")
    plain = os.listdir

    def closed(path: Any) -> list[str]:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(os, "listdir", closed)
    told: list[str] = []
    assert files_at(tmp_path, ["**/*.jsonl"], told) == [tmp_path / "b" / "x.jsonl"]
    assert told == [f"{tmp_path / 'a'}: Permission denied"]


@pytest.mark.timeout(20)
def test_pipes_and_links_that_are_too_long_are_clear_errors(tmp_path: Path):
    for name in odd_ones(tmp_path, ".jsonl"):
        for read in (
            read_log,
            lambda path: gather(DetectConfig(data=path), tmp_path / "home"),
            lambda path: scan([path]),
            lambda path: list(files_of([path])),
            lambda path: list(read_labelled(path)),
        ):
            with pytest.raises(DataError, match=r"a named pipe|File name too long"):
                read(tmp_path / name)
    (tmp_path / "logs").mkdir()
    shutil.copyfile(LOGS / "codex.jsonl", tmp_path / "logs" / "one.jsonl")
    odd_ones(tmp_path / "logs", ".jsonl")
    found = gather(DetectConfig(data=tmp_path / "logs"), tmp_path / "home")
    assert len(found.sessions) == 1
    assert len(found.skipped) == 2


@pytest.mark.timeout(20)
def test_pipes_below_a_folder_are_told_by_all_that_open_files(tmp_path: Path):
    (tmp_path / "note.txt").write_text("nothing secret")
    odd_ones(tmp_path, ".txt")
    coverage = Coverage(0, 0, 0, [])
    assert list(scan_files(SecretScanner(), files_of([tmp_path]), coverage)) == []
    # Links are never followed below a folder.
    assert [(path.name, why) for path, why in coverage.unreadable] == [
        ("1-pipe.txt", "a named pipe")
    ]
    assert coverage.files == 1
    os.mkfifo(tmp_path / ".claude.json")
    assert [(one.sort, one.shown) for one in inventory(tmp_path)] == []


def test_a_log_that_cannot_be_opened_counts_as_a_record_that_was_not_read(tmp_path, monkeypatch):
    home = tmp_path / "home"
    log = claude(home, "-b", "hello")
    store = Store(tmp_path / "store")
    collect(home, store)
    claude(home, "-b", "hello, there")
    plain = Path.open

    def closed(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == log:
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", closed)
    done = collect(home, store)
    assert (done.records, done.quarantined) == (1, 1)
    # What was kept of it stays.
    kept = [[event.text for event in session.events] for session in store.sessions()]
    assert sorted(kept) == [[], ["hello"]]
    assert store.get("claude-code", "s1").coverage.share == 0.0


def test_names_that_are_no_utf_8_are_kept_and_known_again(tmp_path: Path):
    home = tmp_path / "home"
    log = claude(home, "-b", "hello")
    log.rename(os.fsdecode(os.fsencode(log.parent / "r") + b"\xff.jsonl"))
    log.with_name("broken.jsonl").write_bytes(b"{\n")
    assert collect(home, Store(tmp_path / "store")).sources == 2
    again = collect(home, Store(tmp_path / "store"))
    assert (again.unchanged, again.gone) == (2, [])


# ---- ids


def test_two_logs_with_one_id_are_both_kept(tmp_path: Path):
    home = tmp_path / "home"
    first = claude(home, "-aaa", "steal the keys")
    collect(home, Store(tmp_path / "store"))
    other = claude(home, "-zzz", "hello")
    done = collect(home, Store(tmp_path / "store"))
    assert len(done.same_ids) == 1
    assert str(other) in done.same_ids[0]
    assert Store(tmp_path / "store").get("claude-code", "s1").events[0].text == "steal the keys"
    told = {s.id: s.events[0].text for s in Store(tmp_path / "store").sessions()}
    assert sorted(told.values()) == ["hello", "steal the keys"]
    assert any(id.startswith("s1~") for id in told)
    # Each goes on under its own id, also when one is gone.
    first.unlink()
    claude(home, "-zzz", "hello again")
    done = collect(home, Store(tmp_path / "store"))
    assert (done.gone, done.stored) == ([first], 1)
    kept = [s.events[0].text for s in Store(tmp_path / "store").sessions()]
    assert sorted(kept) == ["hello", "hello again", "steal the keys"]  # One was rewritten.


def test_two_logs_of_a_folder_with_one_id_are_both_kept(tmp_path: Path):
    (tmp_path / "logs").mkdir()
    one = claude(tmp_path / "h", "-a", "one").rename(tmp_path / "logs" / "a.jsonl")
    claude(tmp_path / "h", "-b", "two").rename(tmp_path / "logs" / "b.jsonl")
    config = DetectConfig(data=tmp_path / "logs")
    for _ in range(2):
        found = gather(config, tmp_path / "home")
        assert sorted(load(s).events[0].text for s in found.sessions) == ["one", "two"]
        assert len(found.collection.same_ids) == 1
    one.unlink()
    again = gather(config, tmp_path / "home")
    assert (len(again.sessions), again.collection.gone) == (2, [one])


# ---- what is gone, and parts of a home


def test_data_that_is_gone_is_an_error_that_says_what_is_kept(tmp_path: Path):
    home = tmp_path / "user"
    claude(home, "-a", "hello")
    config = DetectConfig(data=home)
    gather(config, tmp_path / "home")
    shutil.rmtree(home)
    with pytest.raises(DataError, match=r"any more; .* is kept in .*stores/user-"):
        gather(config, tmp_path / "home")
    home.mkdir()
    again = gather(config, tmp_path / "home")
    assert [path.name for path in again.collection.gone] == ["s1.jsonl"]


def test_of_a_file_of_sessions_only_what_it_holds_now_counts(tmp_path: Path):
    file = sessions_file(tmp_path / "a.jsonl", 6)
    config = DetectConfig(data=file)
    assert len(gather(config, tmp_path / "home").sessions) == 6
    sessions_file(file, 2)
    assert len(gather(config, tmp_path / "home").sessions) == 2


def test_a_folder_of_files_of_sessions_is_read(tmp_path: Path):
    (tmp_path / "data").mkdir()
    sessions_file(tmp_path / "data" / "a.jsonl", 3)
    (tmp_path / "data" / "b.jsonl.gz").write_bytes(DEV.read_bytes()[:300])
    shutil.copyfile(LOGS / "codex.jsonl", tmp_path / "data" / "c.jsonl")
    found = gather(DetectConfig(data=tmp_path / "data"), tmp_path / "home")
    assert len(found.sessions) == 4
    assert [("b.jsonl.gz, line 1" in why) for why in found.skipped] == [True]


@pytest.mark.parametrize("part", [".claude", PROJECTS, f"{PROJECTS}/-a"])
def test_a_part_of_a_home_folder_finds_its_logs(tmp_path: Path, part: str):
    home = tmp_path / "user"
    claude(home, "-a", "hello")
    codex = home / ".codex" / "sessions" / "rollout-1.jsonl"
    codex.parent.mkdir(parents=True)
    shutil.copyfile(LOGS / "codex.jsonl", codex)
    config = DetectConfig(data=home / part)
    found = gather(config, tmp_path / "home")
    assert [load(one).agent for one in found.sessions] == ["claude-code"]
    assert gather(config, tmp_path / "home").collection.unchanged == 1


# ---- damaged files of sessions


def test_blank_lines_and_a_byte_order_mark_before_sessions_are_passed_over(tmp_path: Path):
    for before in (b"\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n"):
        file = sessions_file(tmp_path / "a.jsonl", 1, before)
        assert holds_sessions(file)
        assert len(list(read_labelled(file))) == 1


def test_a_damaged_gzip_is_told_with_its_line(tmp_path: Path):
    rows = sessions_file(tmp_path / "a.jsonl", 8).read_bytes()
    whole = gzip.compress(rows)
    flipped = bytearray(whole)
    flipped[len(whole) // 2 : len(whole) // 2 + 64] = b"\xff" * 64
    for raw in (whole[: len(whole) // 2], whole[:-4], bytes(flipped), rows, whole[:12]):
        file = tmp_path / "b.jsonl.gz"
        file.write_bytes(raw)
        with pytest.raises(DataError, match=r"b\.jsonl\.gz, line \d+: "):
            list(read_labelled(file))
        with pytest.raises(DataError, match=r"b\.jsonl\.gz, line \d+: "):
            gather(DetectConfig(data=file), tmp_path / "home")


# ---- the store


def test_what_stands_in_the_place_of_the_store_is_a_clear_error(tmp_path: Path, monkeypatch):
    home = tmp_path / "user"
    claude(home, "-a", "hello")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written \((File exists|Not a directory)"):
        collect(home, Store(tmp_path / "file"))
    (tmp_path / "one" / "positions.json").mkdir(parents=True)
    with pytest.raises(DataError, match=r"positions\.json cannot be written \(Is a directory\)"):
        collect(home, Store(tmp_path / "one"))
    for data in (None, home, LOGS / "codex.jsonl"):
        with pytest.raises(DataError, match=r"cannot be written .* that you can write to"):
            gather(DetectConfig(data=data), tmp_path / "file")
    plain = Path.mkdir

    def closed(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.is_relative_to(tmp_path / "read-only"):
            raise OSError(30, "Read-only file system", str(path))
        plain(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", closed)
    with pytest.raises(DataError, match="Read-only file system"):
        gather(DetectConfig(data=home), tmp_path / "read-only")


def test_a_folder_in_the_place_of_a_session_is_told(tmp_path: Path):
    config = DetectConfig(data=LOGS / "codex.jsonl")
    found = gather(config, tmp_path)
    (kept,) = found.sessions
    stray = store_of(config, tmp_path) / "sessions" / "codex" / "x.jsonl"
    stray.mkdir()
    again = gather(config, tmp_path)
    assert again.sessions == found.sessions
    assert again.skipped == (f"{stray} is a folder and no session",)
    kept.path.unlink()
    kept.path.mkdir()
    with pytest.raises(DataError, match=r"cannot be written \(Is a directory\)"):
        gather(config, tmp_path)


# ---- servers


@pytest.mark.timeout(20)
def test_servers_with_odd_paths_beside_them_are_looked_at(tmp_path: Path):
    (tmp_path / "evil.py").write_text(HEAD + TRICKS["silent-send"])
    os.symlink(LONG, tmp_path / "folder")
    odd_ones(tmp_path, ".json")
    odd_ones(tmp_path, ".py")
    found = scan([tmp_path])
    rules = {(one.subject, one.signal.evidence.rule) for one in found.urgent}
    assert ("evil/add", "silent-send") in rules
    assert {name for name, _ in found.unread} == {
        "folder", "0-long.json", "1-pipe.json", "0-long.py", "1-pipe.py",
    }  # fmt: skip


def test_a_source_that_cannot_be_parsed_is_a_finding(tmp_path: Path):
    newer = "def f() -> None:\n    print(t'{x}' f'' ?)\n"
    (tmp_path / "evil.py").write_text(newer + HEAD + TRICKS["silent-send"])
    for path in (tmp_path, tmp_path / "evil.py"):
        (one,) = scan([path]).urgent
        assert (one.signal.evidence.rule, one.level) == ("unreadable-source", "warning")
        assert "evil.py" in one.path


def test_an_entry_of_a_configuration_that_cannot_be_meant_is_told(tmp_path: Path):
    file = tmp_path / "mcp.json"
    good = {"command": "x", "args": [LONG, "~nobody-of-that-name/x"]}
    file.write_text(json.dumps({"mcpServers": {"odd": {"command": 5}, "good": good}}))
    (one,) = scan([file]).urgent
    assert (one.subject, one.signal.evidence.rule) == ("odd", "malformed-entry")
    assert "command: 5" in one.signal.evidence.sentence


def test_a_lone_surrogate_in_a_description_is_pinned(tmp_path: Path):
    source = tmp_path / "server.py"
    source.write_text(
        HEAD + '\n@mcp.tool(description="a \\ud800 b")\ndef add(a: int):\n    return a\n'
    )
    pins = Pins(tmp_path / "pins.json")
    assert scan([source], pins=pins, approve=True).tools == 1
    pins.save()
    assert scan([source], pins=Pins(tmp_path / "pins.json")).urgent == []
