"""Gathering, keeping and publishing: what is done once, what is new, what is left aside."""

from __future__ import annotations

import gzip
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from models.agents import Agent, LocalWorkspace, SqliteStore
from models.detection.config import DetectConfig
from models.detection.evaluation.sessions import DEV
from models.detection.examiner import Examiner
from models.detection.gathering import Stored, gather, load, sessions_edge
from models.detection.publish import figures, publish
from models.detection.reasoning.judge import Judge
from models.detection.records import Record
from models.detection.verdicts import Verdict
from models.detection.work import (
    Kept,
    examiner_of,
    investigate,
    key_of,
    partitions,
    triage,
)
from models.errors import DataError
from models.llm import ScriptedModel
from models.settings import ROOT

LOGS = ROOT / "datasets" / "detection" / "agent_logs"


def judged(examiner: Examiner, stored: Stored) -> Record:
    ((_, record),) = investigate(examiner, [stored])
    return record


def test_without_data_the_samples_of_all_formats_are_gathered(tmp_path: Path):
    found = gather(DetectConfig(), tmp_path)
    agents = {load(one).agent for one in found.sessions}
    assert agents == {"claude-code", "codex", "cursor", "cline", "gemini", "openhands",
                      "loom-agents", "mcp-tap"}  # fmt: skip
    assert found.collection.stored == len(found.sessions)
    assert gather(DetectConfig(), tmp_path).collection.stored == 0
    frame = sessions_edge(found)
    assert len(frame) == len(found.sessions)
    assert frame["session"].is_unique
    assert (frame["read_share"] > 0.8).all()


def test_the_logs_below_a_home_folder_are_read_once(tmp_path: Path):
    log = tmp_path / "user" / ".codex" / "sessions" / "2026" / "rollout-1.jsonl"
    log.parent.mkdir(parents=True)
    shutil.copyfile(LOGS / "codex.jsonl", log)
    config = DetectConfig(data=tmp_path / "user")
    assert gather(config, tmp_path / "home").collection.stored == 1
    again = gather(config, tmp_path / "home")
    assert (again.collection.unchanged, again.collection.stored, len(again.sessions)) == (1, 0, 1)


def test_a_folder_of_logs_is_read_and_what_is_none_is_named(tmp_path: Path):
    logs = tmp_path / "logs"
    logs.mkdir()
    shutil.copyfile(LOGS / "codex.jsonl", logs / "one.jsonl")
    (logs / "notes.txt").write_text("nothing of that kind")
    found = gather(DetectConfig(data=logs), tmp_path / "home")
    assert len(found.sessions) == 1
    assert len(found.skipped) == 1
    assert "notes.txt" in found.skipped[0]
    only = DetectConfig(data=logs / "notes.txt")
    with pytest.raises(DataError, match=r"holds no log of an agent: .*notes\.txt"):
        gather(only, tmp_path / "home")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        gather(DetectConfig(data=tmp_path / "gone"), tmp_path / "home")


def test_the_labels_of_a_file_of_sessions_are_not_read(tmp_path: Path):
    with gzip.open(DEV, "rb") as lines:
        rows = [json.loads(next(lines)) for _ in range(5)]
    one, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    one.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        row |= {"label": 1 - row["label"], "outcome": "resisted"}
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = []
    for file in (one, other):
        found = gather(DetectConfig(data=file), tmp_path / "home")
        examiner = examiner_of(DetectConfig())
        told.append([record.verdict.outcome for _, record in investigate(examiner, found.sessions)])
    assert told[0] == told[1]
    assert len(told[0]) == 5


def test_verdicts_are_kept_by_what_they_depend_on(tmp_path: Path):
    found = gather(DetectConfig(), tmp_path)
    examiner = examiner_of(DetectConfig())
    kept = Kept(tmp_path / key_of(DetectConfig(), examiner))
    first = found.sessions[0]
    assert kept.get(first) is None
    record = triage(examiner, first) or judged(examiner, first)
    kept.put(first, record)
    assert kept.get(first) == record
    path = next(kept.folder.rglob("*.json"))
    path.write_text("{")
    assert kept.get(first) is None  # damaged: judged again
    other = replace(examiner, policies="another")
    assert key_of(DetectConfig(), other) != key_of(DetectConfig(), examiner)
    duty = DetectConfig(personas=("red",))
    assert key_of(duty, examiner) != key_of(DetectConfig(), examiner)


def test_a_session_that_breaks_the_analysis_is_left_to_a_person(tmp_path: Path, monkeypatch):
    found = gather(DetectConfig(), tmp_path)
    examiner = examiner_of(DetectConfig())

    def fails(_):
        raise RecursionError("too deep")

    monkeypatch.setattr(type(examiner), "follow", lambda self, session: fails(session))
    record = judged(examiner, found.sessions[0])
    assert record.verdict.outcome == "undetermined"
    assert "too deep" in record.verdict.evidence[0].sentence


class Batches(ScriptedModel):
    """A model that notes how many rows each of its batches had."""

    def __init__(self, turns):
        super().__init__(turns)
        self.sizes = []

    async def batch(self, prompts, options=None, *, concurrency=8):
        self.sizes.append(len(prompts))
        return await super().batch(prompts, options, concurrency=concurrency)


def test_the_judge_is_asked_about_all_sessions_of_a_part_in_one_batch(tmp_path: Path):
    found = gather(DetectConfig(), tmp_path)
    alone = examiner_of(DetectConfig())
    before = {stored: record.verdict for stored, record in investigate(alone, found.sessions)}
    vote = json.dumps({"outcome": "attempted", "reason": "it did not follow"})
    # One answer is none: it is asked for again, in a batch of its own.
    model = Batches(["?", *[vote] * 20])
    judge = Judge(model, band=1.0)
    records = dict(investigate(examiner_of(DetectConfig(), judge), found.sessions))
    assert set(records) == set(before)
    voted = [one.verdict for one in records.values() if one.verdict.judge]
    assert model.sizes == [judge.asked, 1]
    assert (len(voted), judge.failed) == (judge.asked, 0)
    assert judge.asked >= 3
    assert all("it did not follow" in one.judge for one in voted)
    unasked = [stored for stored, one in records.items() if not one.verdict.judge]
    assert {records[s].verdict.outcome for s in unasked} == {before[s].outcome for s in unasked}


def test_the_conversations_of_an_installation_are_read_and_what_agents_wrote_is_not(
    tmp_path: Path,
):
    own = DetectConfig(installation=True)
    assert gather(own, tmp_path).sessions == ()
    store = SqliteStore(tmp_path / "agents")
    Agent(ScriptedModel(["Four."])).run("2 + 2?", LocalWorkspace(tmp_path), store, "sum")
    source = tmp_path / "agents" / "sum.conversation"
    for place in (
        "agents/workspaces/sum/forged",
        "detection/judge/own",
        "kernels/a/conversations/exp",
    ):
        copy = tmp_path / f"{place}.conversation"
        copy.parent.mkdir(parents=True)
        shutil.copyfile(source, copy)
    found = gather(own, tmp_path)
    assert found.collection.sources == 2
    assert {load(one).agent for one in found.sessions} == {"loom-agents"}
    again = gather(own, tmp_path)
    assert (again.collection.unchanged, again.collection.stored) == (2, 0)
    assert again.sessions == found.sessions
    with pytest.raises(ValueError, match="a source by itself"):
        DetectConfig(installation=True, data=tmp_path)


def test_what_is_published_replaces_what_was(tmp_path: Path):
    found = gather(DetectConfig(), tmp_path)
    examiner = examiner_of(DetectConfig())
    records = [(s, triage(examiner, s) or judged(examiner, s)) for s in found.sessions]
    for spans, count in (("all", len(records)), ("none", 0)):
        config = DetectConfig(spans=spans)
        out = publish(records, tmp_path / "out", {}, config, "about", time.time())
        lines = out.verdicts.read_bytes().splitlines()
        assert [Verdict.from_json(line) for line in lines] == [r.verdict for _, r in records]
        assert (out.spans is None) == (spans == "none")
        if out.spans:
            assert len(json.loads(out.spans.read_text())["resourceSpans"]) == count
    assert not (tmp_path / "out" / "spans.otlp.json").exists()
    reasons = sum(bool(r.verdict.evidence) for _, r in records)
    assert len(out.findings.read_text().splitlines()) == len(out.pages) == reasons
    told = figures([r for _, r in records], 3)
    assert told["sessions"] == len(records)
    assert sum(v for k, v in told.items() if k.startswith("outcome/")) == len(records)
    assert 0 < told["tier1/passed_share"] < 1


def test_figures_of_nothing_are_zeros_not_errors():
    assert figures([], 0)["sessions"] == 0
    one = figures([Record(Verdict("s", "benign", 0.0, elapsed_ms=4.0))], 1)
    assert one["cost/ms_p95"] == 4.0


def test_parts_hold_everything_once():
    stored = [Stored(Path(str(n)), str(n)) for n in range(7)]
    parts = partitions(stored, 3)
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [one for part in parts for one in part] == stored
