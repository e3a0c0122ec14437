"""What finished stays finished: torn tails, damage, full disks, changed inputs, merging."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models.errors import DatasetUnreadableError, StorageFullError
from models.inference.journal import Journal
from models.inference.keys import Samplings, row_keys
from models.inference.merge import UnfinishedRowsError, merge_results
from models.inference.outcome import Failure, Finished
from models.inference.requests import Choice
from models.inference.tokens import JobInput, Limits, tokenize_file

LIMITS = Limits(context_tokens=100, vocabulary=500)


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def said(text: str) -> Finished:
    top = ((7, -0.5), (9, -1.5))
    return Finished((Choice((7, 2), text, "stop", (-0.5, 0.0), (top, top)),), None, 12, 9)


def write(folder: Path, outcomes: dict[int, Finished], name: str = "w") -> Path:
    writer = Journal(folder).writer(name, flush_rows=2, flush_s=100)
    for number, outcome in outcomes.items():
        writer.add(key(number), outcome)
    writer.close()
    return sorted(folder.glob(f"{name}-*"))[-1]


def test_a_journal_gives_back_what_was_added(tmp_path: Path):
    outcomes = {0: said("a"), 1: said("ü\n"), 2: Finished(failure=Failure("engine_failure", "no"))}
    write(tmp_path, outcomes)
    journal = Journal.open(tmp_path)
    assert {n: journal.read(key(n)) for n in outcomes} == outcomes
    assert journal.failed == {key(2)}
    assert journal.read(key(9)) is None
    assert (journal.torn, journal.damaged, journal.doubles) == (0, 0, 0)


def test_a_segment_cut_at_any_byte_keeps_its_whole_records_and_no_more(tmp_path: Path):
    segment = write(tmp_path / "whole", {n: said("x" * n) for n in range(4)})
    whole = segment.read_bytes()
    places = list(Journal.open(tmp_path / "whole").places.values())
    ends = [place.offset + place.size for place in places]
    for size in range(len(whole)):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / segment.name).write_bytes(whole[:size])
        journal = Journal.open(folder)
        n_whole = sum(end <= size for end in ends)
        assert list(journal.places) == [key(n) for n in range(n_whole)]
        # The next start appends to a segment of its own and reads both.
        write(folder, {3: said("new")}, "later")
        again = Journal.open(folder)
        assert again.torn == 0
        assert len(again.places) == min(n_whole, 3) + 1


def test_a_damaged_record_is_passed_over_and_its_row_runs_again(tmp_path: Path):
    segment = write(tmp_path, {n: said("abc") for n in range(3)})
    place = Journal.open(tmp_path).places[key(1)]
    data = bytearray(segment.read_bytes())
    data[place.offset + 5] ^= 1
    segment.write_bytes(data)
    journal = Journal.open(tmp_path)
    assert set(journal.places) == {key(0), key(2)}
    assert journal.damaged == 1
    assert segment.read_bytes() == bytes(data)


def test_a_file_that_is_no_segment_is_refused(tmp_path: Path):
    (tmp_path / "x.segment").write_bytes(b"something else")
    with pytest.raises(DatasetUnreadableError, match="no segment of a journal"):
        Journal.open(tmp_path)


def test_a_retry_that_succeeds_takes_the_place_of_a_failure(tmp_path: Path):
    write(tmp_path, {0: Finished(failure=Failure("server_error", "no")), 1: said("a")}, "a")
    journal = Journal.open(tmp_path)
    assert journal.forget_failures() == 1
    assert set(journal.places) == {key(1)}
    write(tmp_path, {0: said("b"), 1: said("c")}, "b")
    journal = Journal.open(tmp_path)
    assert journal.read(key(0)) == said("b")
    assert journal.read(key(1)) == said("a")
    assert journal.doubles == 1


def test_a_retry_that_fails_again_tells_its_own_cause_and_all_readers_find_the_row_open(
    tmp_path: Path,
):
    def failed(why: str) -> Finished:
        return Finished(failure=Failure("server_error", why))

    # Failed twice and merged from names that sort against time: both failures are forgotten.
    write(tmp_path, {0: failed("first"), 1: said("a")}, "shard-2")
    write(tmp_path, {0: failed("second")}, "shard-1")
    assert Journal.open(tmp_path).forget_failures() == 1
    for again in (Journal.open(tmp_path), Journal.look(tmp_path)):
        assert set(again.places) == {key(1)}
        assert again.forget_failures() == 0
    write(tmp_path, {0: failed("third")}, "shard-0")
    journal = Journal.open(tmp_path)
    assert journal.read(key(0)) == failed("third")
    assert (journal.failed, journal.doubles, journal.damaged, journal.torn) == ({key(0)}, 0, 0, 0)
    assert journal.forget_failures() == 1
    write(tmp_path, {0: said("b")}, "quarantine-0")
    assert Journal.open(tmp_path).read(key(0)) == said("b")


def test_a_full_disk_is_told_and_leaves_no_half_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writer = Journal(tmp_path).writer("w", 100, 100)
    writer.add(key(0), said("a"))
    write_to = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_to(descriptor, data[: len(data) - 10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(StorageFullError, match="goes on where it stopped"):
            writer.add(key(1), said("b"))
    writer.add(key(2), said("c"))
    writer.close()
    journal = Journal.open(tmp_path)
    assert set(journal.places) == {key(0), key(2)}
    assert (journal.torn, journal.damaged) == (0, 0)


def rows(**changes: object) -> list[dict[str, object]]:
    greedy = {"max_tokens": 4, "temperature": 0}
    base: list[dict[str, object]] = [
        {"custom_id": "a", "token_ids": [5, 6, 7], **greedy},
        {"custom_id": "b", "token_ids": [5, 6, 8], **greedy},
        {"custom_id": "twin", "token_ids": [5, 6, 7], **greedy},
        {"custom_id": "drawn", "token_ids": [5, 6, 7], "max_tokens": 4},
        {"custom_id": "drawn-too", "token_ids": [5, 6, 7], "max_tokens": 4},
        {"custom_id": "theirs", "token_ids": [5, 6, 7], **greedy, "tenant": "t"},
    ]
    return [{**row, **changes} if row["custom_id"] == "b" else row for row in base]


def read(lines: list[object], folder: Path) -> JobInput:
    file = folder / "in.jsonl"
    folder.mkdir(exist_ok=True)
    file.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    )
    return tokenize_file(file, None, LIMITS, folder / "cache")


def keys_of(job: JobInput, seed: int = 0, model: str = "m", mode: str = "native") -> list[bytes]:
    return row_keys(job.prompts, Samplings(job.rows, seed), model, mode, True)


def test_a_changed_input_changes_the_key_of_its_row_only(tmp_path: Path):
    before = keys_of(read(rows(), tmp_path))
    assert before[0] == before[2]
    assert len(set(before)) == 5  # draws and other tenants stay apart
    for change in ({"token_ids": [5, 9]}, {"max_tokens": 5}, {"stop": ["x"]}):
        after = keys_of(read(rows(**change), tmp_path))
        assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, *[True] * 4]
    shifted = keys_of(read([rows()[5], *rows()[:5]], tmp_path))
    assert shifted == [before[5], *before[:5]]
    for other in (
        keys_of(read(rows(), tmp_path), model="n"),
        keys_of(read(rows(), tmp_path), 0, "m", "vllm"),
    ):
        assert not set(other) & set(before)
    reseeded = keys_of(read(rows(), tmp_path), seed=1)
    assert [a == b for a, b in zip(reseeded, before, strict=True)] == [
        *(True, True, True, False, False, True)
    ]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_merging_writes_one_line_per_row_in_the_order_of_the_input(tmp_path: Path, name: str):
    lines = ["{broken", *rows(), "", {"custom_id": "late", "token_ids": [5] * 200, "max_tokens": 1}]
    job = read(lines, tmp_path)
    keys, output = keys_of(job), tmp_path / "out" / name
    writer = Journal(tmp_path / "j").writer("w", 10, 10)
    for number, unique in enumerate(dict.fromkeys(keys)):
        if number == 1:
            continue
        writer.add(unique, said(f"text {number}"))
    writer.close()
    journal = Journal.open(tmp_path / "j")
    arguments = (journal, {}, "m", output, output.with_name("errors.jsonl"))
    with pytest.raises(UnfinishedRowsError, match="1 of 6 rows"):
        merge_results(job, keys, *arguments)
    assert not output.exists()
    refused = {1: Failure("kv_budget_exceeded", "too large", type="invalid_request_error")}
    merged = merge_results(job, keys, journal, refused, *arguments[2:])
    assert (merged.rows_ok, merged.rows_failed) == (5, 3)
    errors = [json.loads(line) for line in output.with_name("errors.jsonl").open()]
    assert [error["error"]["code"] for error in errors] == [
        *("invalid_json", "kv_budget_exceeded", "context_length_exceeded")
    ]
    wanted = [None, "a", "b", "twin", "drawn", "drawn-too", "theirs", "late"]
    if name.endswith("parquet"):
        table = pq.read_table(output)
        assert table["custom_id"].to_pylist() == wanted
        assert table["texts"].to_pylist()[3] == ["text 0"]
        assert table["error_code"].to_pylist()[2] == "kv_budget_exceeded"
        return
    found = [json.loads(line) for line in output.open()]
    assert [line["custom_id"] for line in found] == wanted
    assert [line["row"] for line in found] == [0, 1, 2, 3, 4, 5, 6, 8]
    twin = found[3]["response"]["body"]
    # What OpenAI's API reference calls required, and its typed client insists on.
    assert {"id", "object", "created", "model", "choices"} <= twin.keys()
    assert twin["choices"][0]["text"] == found[1]["response"]["body"]["choices"][0]["text"]
    # A copy computed nothing.
    assert twin["usage"]["prompt_tokens_details"]["cached_tokens"] == 12
    assert all((line["response"] is None) == (line["error"] is not None) for line in found)
