"""The shipped repair tasks are true, and the harness lets right plans succeed and no wrong one."""

from __future__ import annotations

import dataclasses
import errno
import json
import pickle
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models.agents import LocalWorkspace, SqliteStore
from models.agents.repairs import PLANS, RepairOutcome, RepairTask, load_suite, run_task
from models.agents.repairs.__main__ import main
from models.agents.repairs.judge import Verdict, judge, left_files, write_files
from models.agents.repairs.plans import steps_of
from models.agents.repairs.report import NOTE, table, totals
from models.errors import (
    ConfigError,
    DatasetMissingError,
    DatasetUnreadableError,
    UnknownNameError,
)
from models.llm.errors import CassetteError
from models.sandbox import SandboxUnavailableError
from models.sandbox.bubblewrap import usable_bwrap
from models.settings import ROOT

FOLDER = ROOT / "datasets" / "agents" / "repairs"
SUITE = {task.id: task for task in load_suite(FOLDER / "repairs.jsonl")}
# One edit in Python, several edits, several files, a shell script.
SAMPLE = ("page-count", "same-name-twice", "missing-await", "lost-exit-code")
EASY = SUITE["page-count"]
COMPARED = {"plan": "", "model": "", "source": "", "cpu_s": 0.0, "wall_s": 0.0}


@pytest.fixture(scope="module")
def walls() -> None:
    try:
        usable_bwrap()
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")


def _check(task: RepairTask, files: Mapping[str, str], folder: Path) -> tuple[int, list[str]]:
    """Run a check as it stands, without anything of ours."""
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["sh", "-c", task.check],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.splitlines()


# ---- the suite


def test_the_suite_has_thirty_different_bugs_in_small_repositories() -> None:
    assert len(SUITE) == 30
    assert len({task.kind for task in SUITE.values()}) == 30
    assert len({task.prompt for task in SUITE.values()}) == 30
    assert {task.difficulty for task in SUITE.values()} == {"easy", "medium", "hard"}
    for task in SUITE.values():
        assert 2 <= len(task.files) <= 3
        assert all(4 <= text.count("\n") <= 32 for text in task.files.values())
        # Else a compiled file of the same size and second may stand for the edited one.
        assert task.check.startswith(("python3 -B ", "bash "))


@pytest.mark.parametrize("task", SUITE.values(), ids=SUITE.keys())
def test_a_check_fails_before_and_after_the_wrong_edit_and_passes_after_the_right_one(
    task: RepairTask, tmp_path: Path
) -> None:
    before, _ = _check(task, task.files, tmp_path / "before")
    wrong, _ = _check(task, task.edited([task.wrong]), tmp_path / "wrong")
    right, said = _check(task, task.edited(task.fix), tmp_path / "right")
    assert (before != 0, wrong != 0, right) == (True, True, 0)
    assert said[-1] == task.last_line == "passed"


def _lines(*changes: dict[str, Any]) -> str:
    values = EASY.model_dump(mode="json")
    return "".join(json.dumps({**values, **change}) + "\n" for change in changes)


EDIT = EASY.wrong.model_dump()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no task"),
        (_lines({}) + "\n{not json}\n", r"line 3 is no JSON"),
        ("[1]\n", r"line 1 holds a list"),
        (_lines({}, {"id": "other"}, {}), r"line 3: line 1 has the id 'page-count' already"),
        (_lines({"id": "Not An Id"}), r"line 1 is no repair task: id: "),
        (_lines({"hint": "look"}), r"hint: Extra inputs are not permitted"),
        (_lines({"wrong": {**EDIT, "old": "return"}}), r"'return' occurs 2 times in 'pages.py'"),
        (_lines({"fix": [{**EDIT, "path": "none.py"}]}), r"occurs 0 times in 'none.py'"),
        (_lines({"wrong": {**EDIT, "path": "test_pages.py"}}), r"'test_pages.py' is protected"),
        (_lines({"protected": ["test_x.py"]}), r"'test_x.py' is none of the files"),
        (_lines({"files": {**EASY.files, "../x": "y"}}), r"'../x' must be relative, plain"),
    ],
)
def test_a_suite_with_a_bad_line_says_which_and_why(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(text)
    with pytest.raises(DatasetUnreadableError, match=said):
        load_suite(file)


def test_a_suite_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissingError, match=r"none\.jsonl does not exist"):
        load_suite(tmp_path / "none.jsonl")


# ---- plans through the real agent


@pytest.mark.usefixtures("walls")
@pytest.mark.parametrize("name", SAMPLE)
def test_right_plans_solve_a_task_and_wrong_ones_do_not(name: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        outcomes = dict(
            zip(PLANS, pool.map(lambda plan: run_task(SUITE[name], plan), PLANS), strict=True)
        )
    ends = {plan: (one.phase, one.reason, one.steps) for plan, one in outcomes.items()}
    assert {plan: one.solved for plan, one in outcomes.items()} == dict(PLANS), ends
    assert all(one.as_expected and one.phase == "finished" for one in outcomes.values())
    assert {one.source for one in outcomes.values()} == {"scripted"}
    for plan, one in outcomes.items():
        assert one.steps == len(steps_of(SUITE[name], plan))
    assert (outcomes["correct"].tool_errors, outcomes["correct"].failed_commands) == ((), 1)
    assert outcomes["correct"].reason == outcomes["recovering"].reason == ""
    assert outcomes["recovering"].failed_commands == 2
    assert outcomes["wrong"].reason.startswith("the check ends with 1")
    assert outcomes["cheating"].failed_commands == 0, "the agent saw its own test pass"
    assert f"put back: {SUITE[name].protected[0]}" in outcomes["cheating"].reason


def test_a_clumsy_agent_is_told_of_each_mistake_and_goes_on() -> None:
    outcome = run_task(EASY, "clumsy", isolation="local")
    assert outcome.solved
    tools = [error.partition(":")[0] for error in outcome.tool_errors]
    assert tools == ["edit_file", "view", "view", "view", "str_replace"]
    assert "no tool named 'edit_file'" in outcome.tool_errors[0]
    assert "pages.py.orig" in outcome.tool_errors[3]
    assert "occurs 16 times in pages.py" in outcome.tool_errors[4]


def test_a_plan_stops_where_a_result_is_not_what_it_expects() -> None:
    nothing_wrong = EASY.model_copy(update={"check": "true"})
    outcome = run_task(nothing_wrong, "correct", isolation="local")
    assert (outcome.solved, outcome.phase, outcome.steps) == (False, "error", 3)
    assert "plan 'correct' of task 'page-count', step 3 (terminal): wanted" in outcome.reason


def test_another_model_works_by_its_address_without_a_plan(tmp_path: Path) -> None:
    script = tmp_path / "idle.yaml"
    script.write_text("replies: [{tool_calls: [{name: finish, arguments: {message: done}}]}]")
    outcome = run_task(EASY, model=f"scripted:{script}", isolation="local")
    assert (outcome.plan, outcome.as_expected, outcome.phase) == ("", None, "finished")
    assert (outcome.solved, outcome.reason) == (False, "the check ends with 1: AssertionError: 3")


def test_a_conversation_is_kept_in_the_store_that_is_given(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "talks", "relaxed")
    outcome = run_task(EASY, "correct", isolation="local", store=store, conversation="first")
    kept = [(row.id, row.phase, row.steps) for row in store.list()]
    assert kept == [("first", "finished", outcome.steps)]


def test_a_plan_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no plan named 'corect'; did you mean 'correct'"):
        run_task(EASY, "corect", isolation="local")


def test_tasks_and_outcomes_travel_between_processes() -> None:
    outcome = run_task(EASY, "wrong", isolation="local")
    assert pickle.loads(pickle.dumps((EASY, outcome))) == (EASY, outcome)


# ---- the judge


@pytest.fixture
def judged(tmp_path: Path) -> Iterator[Any]:
    def verdict(left: Mapping[str, str]) -> Verdict:
        work, clean = LocalWorkspace(tmp_path / "work"), LocalWorkspace(tmp_path / "clean")
        write_files(work.root, {path: text.encode() for path, text in left.items()})
        found = judge(EASY, left_files(work), clean)
        work.close()
        clean.close()
        return found

    return verdict


def test_the_judge_takes_a_right_repair_with_files_that_are_new(judged: Any) -> None:
    files = EASY.edited(EASY.fix)
    moved = {**files, "counting.py": files["pages.py"], "pages.py": "from counting import *\n"}
    assert judged(moved) == Verdict(True, "")


def test_a_program_that_ends_before_the_check_does_not_pass(judged: Any) -> None:
    found = judged({**EASY.files, "pages.py": "raise SystemExit(0)\n"})
    assert found == Verdict(False, "the check ended early: its last line is '', not 'passed'")


def test_a_module_in_the_place_of_a_standard_one_is_left_behind(judged: Any) -> None:
    pages = "import re\n" + EASY.files["pages.py"]
    found = judged({**EASY.files, "pages.py": pages, "re.py": "print('passed')\nexit(0)\n"})
    assert found == Verdict(False, "the check ends with 1: AssertionError: 3")


def test_a_test_that_became_a_folder_is_put_back(judged: Any) -> None:
    files = {"pages.py": EASY.edited(EASY.fix)["pages.py"], "test_pages.py/__main__.py": "exit(0)"}
    assert judged(files) == Verdict(True, "put back: test_pages.py")


def test_a_link_or_a_huge_file_is_not_carried_over(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    work = LocalWorkspace(tmp_path / "work")
    write_files(work.root, {"small.py": b"1\n", "huge.py": b"#" * (1024**2 + 1)})
    (work.root / "link.py").symlink_to(secret)
    assert left_files(work) == {"small.py": b"1\n"}
    work.close()


def test_a_file_that_we_fail_to_read_is_no_verdict_on_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = LocalWorkspace(tmp_path / "work")
    write_files(work.root, {"a.py": b"1\n", "b.py": b"2\n"})
    files, read = work.sandbox.files, work.sandbox.files.read
    raised = OSError(errno.ENOENT, "removed just now")

    def fails(path: str, **options: Any) -> bytes:
        if path == "a.py":
            raise raised
        return read(path, **options)

    monkeypatch.setattr(files, "read", fails)
    assert left_files(work) == {"b.py": b"2\n"}
    raised = OSError(errno.EMFILE, "too many open files")
    with pytest.raises(OSError, match="too many open files"):
        left_files(work)
    work.close()


# ---- recordings


def _alike(outcome: RepairOutcome) -> RepairOutcome:
    return dataclasses.replace(outcome, **COMPARED)


def test_a_recorded_run_is_replayed_with_the_same_outcome(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    elsewhere = tmp_path / "another folder"
    elsewhere.mkdir()
    recorded = run_task(EASY, "recovering", isolation="local", record=file)
    replayed = run_task(EASY, isolation="local", replay=file, folder=elsewhere)
    assert (recorded.solved, recorded.source, recorded.plan) == (True, "scripted", "recovering")
    assert (replayed.source, replayed.plan) == ("replayed", "")
    assert _alike(replayed) == _alike(recorded)
    assert str(tmp_path) not in file.read_text()

    other = run_task(SUITE["percent-done"], isolation="local", replay=file)
    assert (other.solved, other.phase) == (False, "error")
    assert "another request" in other.reason


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.touch()
    with pytest.raises(ConfigError, match="exists already"):
        run_task(EASY, isolation="local", record=file)
    with pytest.raises(ConfigError, match="give only one"):
        run_task(EASY, isolation="local", record=tmp_path / "new", replay=file)
    with pytest.raises(CassetteError, match="does not exist"):
        run_task(EASY, isolation="local", replay=tmp_path / "none.jsonl")


def test_the_shipped_recording_is_of_the_agent_as_it_is() -> None:
    """When the agent's prompt or a tool's description changed on purpose, record it again."""
    (file,) = (FOLDER / "cassettes").iterdir()
    task = SUITE[file.stem]
    replayed = run_task(task, isolation="local", replay=file)
    assert replayed.solved, replayed.reason
    assert _alike(replayed) == _alike(run_task(task, "correct", isolation="local"))


# ---- the command


def test_the_command_prints_totals_and_writes_outcomes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = ["--plan", "all", "--task", "page-count", "--isolation", "local", "--workers", "2"]
    assert main([*words, "--json", str(out)]) == 0
    head, *rows, note = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["plan", "tasks", "solved", "must", "be"]
    assert [row.split()[:4] for row in rows] == [
        ["correct", "1", "1", "1"],
        ["recovering", "1", "1", "1"],
        ["clumsy", "1", "1", "1"],
        ["wrong", "1", "0", "0"],
        ["cheating", "1", "0", "0"],
    ]
    found = json.loads(out.read_text())
    assert note == found["note"] == NOTE
    assert [one["as_expected"] for one in found["outcomes"]] == [True] * 5


def test_the_command_replays_recordings_and_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = ["--replay", str(FOLDER / "cassettes"), "--isolation", "local"]
    assert main(shipped) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["replay", "1", "1"]
    assert main([*shipped, "--task", "page-count"]) == 2
    assert "has no recording of these tasks" in capsys.readouterr().err
    assert main(["--task", "page-cuont"]) == 2
    assert "did you mean 'page-count'" in capsys.readouterr().err
    assert main(["--plan", "all", "--record", str(tmp_path)]) == 2
    assert "choose one plan" in capsys.readouterr().err
    assert main(["--data", str(tmp_path / "none.jsonl")]) == 3


def test_totals_count_by_plan_and_the_table_names_what_came_out_otherwise() -> None:
    good = RepairOutcome(
        task="a", plan="correct", model="scripted:a", source="scripted", isolation="local",
        solved=True, reason="", phase="finished", steps=5, tool_errors=(), failed_commands=1,
        cost_usd=0.0, cpu_s=0.25, wall_s=0.5,
    )  # fmt: skip
    bad = dataclasses.replace(good, task="b", solved=False, reason="it broke", steps=3)
    fooled = dataclasses.replace(good, task="c", plan="cheating", tool_errors=("view: no",))
    first, second = totals([good, bad, fooled])
    assert (first.who, first.tasks, first.solved, first.expected, first.steps) == (
        "correct", 2, 1, 2, 8,
    )  # fmt: skip
    assert (first.cpu_s, first.wall_s, first.failed_commands) == (0.5, 1.0, 2)
    assert (second.who, second.solved, second.expected, second.tool_errors) == ("cheating", 1, 0, 1)
    lines = table([good, bad, fooled]).splitlines()
    assert lines[3:5] == ["b (correct): it broke", "c (cheating): solved, and must not be"]
