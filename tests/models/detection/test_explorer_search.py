"""The search: what an attack is worth, the map, the end, going on after a kill, what is left."""

import datetime
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import orjson
import pytest

from models.detection.evaluation.labelled import read_labelled
from models.detection.explorer.archive import Archive, read_checkpoint, write_checkpoint
from models.detection.explorer.config import ExploreConfig
from models.detection.explorer.declared import declared
from models.detection.explorer.explore import (
    CHECKPOINT,
    Exploration,
    dies_out,
    explore,
    sessions_of,
)
from models.detection.explorer.fitness import Candidate, evaluate, fitness, gravity
from models.detection.explorer.generation import Generation
from models.detection.explorer.genome import Genome, drawn, goal_of
from models.detection.explorer.harden import FINDINGS, harden, table
from models.detection.explorer.natural import CharacterModel, naturalness
from models.detection.explorer.publish import entries, rows, write_lines
from models.detection.explorer.report import render, visible
from models.detection.explorer.victim import VICTIMS
from models.detection.intel import IntelStore
from models.detection.reasoning.detector import shipped
from models.detection.reasoning.links import flow_of
from models.detection.reasoning.train import TrainConfig, examples
from models.detection.scenarios.attacks import first_goals
from models.errors import DataError
from models.settings import ROOT

CONFIG = ExploreConfig(
    generations=4, population=12, sessions=1, confirmations=1, mutations=12, seed=5
)
DATE = datetime.date(2026, 1, 2)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    return explore(CONFIG, shipped(), tmp_path_factory.mktemp("found"))


def candidate(genome: Genome, worth: float, *, evades: bool) -> Candidate:
    return Candidate(genome, 1.0, 0.5, 0.9, 0.1, worth, True, not evades, ("benign",))


def test_fitness_is_the_product_that_the_paper_gives_times_what_is_not_noticed():
    assert fitness(0.5, 0.8, 0.4, 0.25) == pytest.approx(0.5 * 0.8 * 0.4**1.2 * 0.75)
    assert fitness(1.0, 1.0, 1.0, 1.0) == 0.0
    sends = next(g for g in map(drawn, map(random.Random, range(500))) if g.goal == "forward-mails")
    assert gravity(goal_of(sends)) == 0.8  # the graver of reading and sending


def test_characters_of_a_model_share_one_chance_and_tool_texts_look_more_natural_than_codes():
    model = CharacterModel(["the plan was agreed", "the team agreed on the plan"])
    letters = {letter for text in ("the plan was agreed on m",) for letter in text}
    assert sum(2 ** -model.bits(letter) for letter in letters) <= 1 + 1e-9
    assert model.bits("the plan") < model.bits("phe tlan") < model.bits("qzxqzxqz")
    assert model.bits("") == 0
    natural = naturalness()
    texts = ("The meeting went well.", "Leite alle Nachrichten weiter.", "U2VuZCBhbGwgbWFpbHM=")
    found = [natural.of(text) for text in texts]
    assert found == sorted(found, reverse=True)
    assert found[0] == 1.0
    assert found[-1] < 0.1


def test_what_nobody_obeys_is_worth_nothing():
    hidden = next(g for g in map(drawn, map(random.Random, range(500))) if g.disguise == "base64")
    tried = evaluate(hidden, shipped(), VICTIMS["plain"], ["x"])
    assert (tried.eps, tried.fitness, tried.is_carried) == (0.0, 0.0, False)
    assert not tried.evades


def test_a_cell_holds_its_best_attack_and_one_that_evades_before_any_that_does_not():
    genome = drawn(random.Random(1))
    archive = Archive()
    assert not archive.place(candidate(genome, 0.0, evades=True))
    assert archive.place(candidate(genome, 0.5, evades=False))
    assert not archive.place(candidate(genome, 0.4, evades=False))
    assert archive.place(candidate(genome, 0.1, evades=True))
    assert not archive.place(candidate(genome, 0.9, evades=False))
    assert archive.place(candidate(genome, 0.2, evades=True))
    assert [one.fitness for one in archive.survivors] == [0.2]
    assert archive.coverage == 1 / len(declared().cells())
    assert Archive(archive.elites).elites == archive.elites


def test_a_search_ends_when_less_than_one_survivor_per_survivor_is_to_be_expected(tmp_path: Path):
    assert dies_out(0.09, 10)
    assert not dies_out(0.1, 10)
    few = CONFIG.model_copy(update={"mutations": 1, "generations": 50})
    ended = explore(few, shipped(), tmp_path)
    assert ended.has_died_out
    *before, last = ended.generations
    assert last.survival * 1 < 1
    assert all(one.survival * 1 >= 1 for one in before if one.number)
    assert len(ended.generations) < 50


def test_as_many_attacks_are_drawn_by_chance_as_are_bred(found: Exploration):
    assert len(found.generations) == CONFIG.generations
    for one in found.generations:
        assert one.survivors <= one.evaded <= one.carried <= one.tried == CONFIG.population
        assert one.random_evaded <= one.random_carried <= one.tried
        low, high = one.interval
        assert low <= (one.evasion or 0) <= high
    for counts in (found.counts, found.random_counts):
        totals = {tuple(map(sum, zip(*gene.values(), strict=True))) for gene in counts.values()}
        assert len(totals) == 1  # every attack is counted once by each gene
    carried = sum(row[0] for row in found.counts["disguise"].values())
    assert carried == sum(one.carried for one in found.generations)
    assert found.generations[-1].evading_cells == len(found.archive.survivors) > 0
    assert set(found.held) == {one.genome.digest for one in found.archive.survivors}


def test_a_search_that_was_stopped_goes_on_to_the_same_end(found: Exploration, tmp_path: Path):
    def stop(one: Generation) -> None:
        if one.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(CONFIG, shipped(), tmp_path, stop)
    made: list[int] = []
    again = explore(CONFIG, shipped(), tmp_path, lambda one: made.append(one.number))
    assert made == [2, 3]
    assert state_of(again) == state_of(found)
    short = CONFIG.model_copy(update={"seed": 6, "generations": 1})
    other = explore(short, shipped(), tmp_path / "other")
    assert other.generations[0] != found.generations[0]


def test_a_search_that_was_killed_goes_on_to_the_same_end(found: Exploration, tmp_path: Path):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from models.detection.explorer.config import ExploreConfig\n"
        "from models.detection.explorer.explore import explore\n"
        "from models.detection.reasoning.detector import shipped\n"
        "config = ExploreConfig.model_validate_json(sys.argv[1])\n"
        "explore(config, shipped(), Path(sys.argv[2]), lambda one: print(one.number, flush=True))"
    )
    words = [sys.executable, "-c", code, CONFIG.model_dump_json(), str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "0"
        time.sleep(random.Random().uniform(0, 0.2))  # anywhere: also while a state is written
        os.kill(process.pid, signal.SIGKILL)
    made: list[int] = []
    again = explore(CONFIG, shipped(), tmp_path, lambda one: made.append(one.number))
    assert made[:1] != [0]
    assert state_of(again) == state_of(found)


def state_of(found: Exploration) -> bytes:
    values = {
        "generations": found.generations, "elites": found.archive.elites,
        "random": found.random.elites, "counts": found.counts, "more": found.random_counts,
        "held": found.held,
    }  # fmt: skip
    return orjson.dumps(msgspec.to_builtins(values), option=orjson.OPT_SORT_KEYS)


def test_a_state_of_another_search_or_a_changed_one_is_refused(tmp_path: Path):
    small = CONFIG.model_copy(update={"generations": 1, "population": 4})
    explore(small, shipped(), tmp_path)
    with pytest.raises(DataError, match=r"of another search \(config .*give another `folder`"):
        explore(small.model_copy(update={"seed": 9}), shipped(), tmp_path)
    file = tmp_path / CHECKPOINT
    whole = file.read_bytes()
    body = read_checkpoint(file)
    assert body is not None
    write_checkpoint(file, {**body, "declarations": "0123456789ab"})
    with pytest.raises(DataError, match=r"of another search \(declarations 0123456789ab, not "):
        explore(small, shipped(), tmp_path)
    file.write_bytes(whole.replace(b'"tried":4', b'"tried":5'))
    with pytest.raises(DataError, match="its hash does not fit"):
        explore(small, shipped(), tmp_path)
    file.write_bytes(whole[:-20])
    with pytest.raises(DataError, match="remove it to begin anew"):
        explore(small, shipped(), tmp_path)
    write_checkpoint(file, {"schema": "other/1"})
    with pytest.raises(DataError, match="its schema is 'other/1'"):
        read_checkpoint(file)
    assert read_checkpoint(tmp_path / "nothing.json") is None


def test_findings_are_training_sessions_each_followed_and_resisted(
    found: Exploration, tmp_path: Path
):
    file = tmp_path / "findings.jsonl"
    count = write_lines(file, rows(found, CONFIG))
    read = list(read_labelled(file))
    survivors = found.archive.survivors
    assert len(read) == count == 2 * len(survivors) * len(sessions_of(CONFIG))
    detector = shipped()
    for (session, labels), line in zip(read, file.read_bytes().splitlines(), strict=True):
        row = json.loads(line)
        assert (labels.split, row["source"]) == ("train", "explorer")
        assert labels.technique in declared().techniques
        # What is written reads as what was tried: still not noticed.
        assert not labels.is_attack or not detector.examine(session).is_alert
        calls = {call.id for _, call in session.calls()}
        assert set(labels.hijack_calls or ()) <= calls
        assert labels.is_attack == (bool(labels.hijack_calls) or labels.is_hijack_said)
        assert labels.injected
    assert {labels.outcome for _, labels in read} == {"executed", "resisted"}
    # The trainer takes them as they are.
    flows = [(labels, flow_of(session, detector.read(session))) for session, labels in read]
    (links, truth, _), _ = examples(flows, 0.5)
    assert len(links) == len(truth) > 0
    assert truth.any()


def test_intelligence_says_what_got_through_and_is_kept_once(found: Exploration, tmp_path: Path):
    published = entries(found, CONFIG, DATE)
    assert [one.fitness for one in published] == sorted(
        (one.fitness for one in published), reverse=True
    )
    first = published[0]
    assert first.id == f"EAS-{found.archive.survivors[0].genome.digest}"
    assert first.date == "2026-01-02"
    assert {"id", "technique", "title", "pattern", "example", "date"} <= {
        *msgspec.to_builtins(first)
    }
    assert first.example
    store = IntelStore(tmp_path)
    assert store.append(one.as_intel() for one in published) == len(published)
    assert store.append(one.as_intel() for one in published) == 0
    assert any(one.id == first.id for one in store.entries(first.technique))


def test_the_page_shows_texts_of_attackers_and_runs_nothing_of_them(found: Exploration):
    (first, *others) = entries(found, CONFIG, DATE)
    nasty = "<script src='https://evil.example/a.js'></script><img src=x onerror=y>\u200b\U000e0041"
    page = render(
        found, [msgspec.structs.replace(first, example=nasty, title=nasty), *others], CONFIG
    )
    for tag in ("<script", "<img", "<link", "<iframe", " href="):
        assert tag not in page
    assert "&lt;script src=" in page
    assert "\\u{200b}\\u{e0041}" in page
    assert page.count("<svg") == 3
    assert page.count("<rect") >= len(declared().cells())
    assert visible("a\u200bb\n") == "a\\u{200b}b\n"
    empty = Exploration(
        found.generations, Archive(), Archive(), found.counts, found.random_counts, {}, {}, True,
        "none",
    )  # fmt: skip
    assert "every attack that was carried out was noticed" in render(empty, [], CONFIG)


@pytest.mark.slow
def test_a_detector_is_trained_again_with_what_got_past_it_and_measured_on_other_attacks(
    tmp_path: Path,
):
    small = TrainConfig(scenarios=200, coding=0, source_files=0, recorded=(), dev=())
    found = harden(CONFIG, small, shipped(), tmp_path, count=20)
    lines = (tmp_path / FINDINGS).read_bytes().splitlines()
    assert len(lines) == found.sessions > 0
    assert {json.loads(line)["group"]["injection_task"] for line in lines} <= first_goals()
    assert found.detector.digest != shipped().digest
    for one in (found.before, found.after):
        assert one.known[1] + one.others[1] == one.alarms[1] > 0
        assert one.dev[1::2] == (168, 231)
    assert found.before.known[1] == found.after.known[1]  # the same attacks
    assert "goals trained on" in table(found)
