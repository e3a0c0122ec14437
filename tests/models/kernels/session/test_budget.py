"""Sessions whose candidates the linter refuses: budgets, dialogs, repetition, our own failures."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import AlreadyRunningError, ConfigError, DatasetUnreadableError, ServiceError
from models.kernels.candidate import source_sha
from models.kernels.operators import find_operator
from models.kernels.profiles import find_profile
from models.kernels.propose.base import DialogFullError
from models.kernels.session import SessionConfig, open_trace, run_session
from models.kernels.session.stages import Stages, lint, propose

_spec = importlib.util.spec_from_file_location("scripted", Path(__file__).parent / "scripted.py")
scripted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted)
EXP, INTERPRETER = find_operator("exp"), find_profile("interpreter")


def never(*arguments):
    raise AssertionError("no module of these scripts passes the linter")


LINT_ONLY = Stages(propose, lint, never, never, never)


def run(sources, config=None, stages=LINT_ONLY, trace=None):
    proposer = scripted.Scripted(sources)
    config = config or SessionConfig(infra_wait_s=0)
    return run_session(EXP, INTERPRETER, proposer, stages, config, trace), proposer


def test_a_session_ends_after_three_dialogs_of_fifteen_calls():
    result, proposer = run(scripted.refused(number) for number in range(100))
    assert (result.outcome, result.calls, result.dialogs) == ("exhausted", 45, 3)
    assert result.reason == "lint: CHT002, CHT003"
    asked = [packet.machine for packet in proposer.packets[1:]]
    assert [(facts["dialog"], facts["call"]) for facts in asked] == [
        (dialog, call) for dialog in (1, 2, 3) for call in range(1, 16)
    ][1:]


def test_a_new_dialog_begins_with_the_source_of_the_best_candidate():
    _, proposer = run(scripted.refused(number) for number in range(100))
    resumed = [place for place, packet in enumerate(proposer.packets)
               if packet is not None and packet.machine.get("resume")]  # fmt: skip
    assert resumed == [15, 30]
    # All were refused by the linter alike: the latest of equal ones is the best.
    assert proposer.packets[15].machine["source"] == scripted.refused(14)


def test_a_dialog_that_is_full_ends_and_a_proposer_with_nothing_left_ends_the_session():
    result, proposer = run([scripted.refused(1), DialogFullError("full"), scripted.refused(2)])
    assert (result.outcome, result.calls, result.dialogs) == ("exhausted", 2, 2)
    assert proposer.packets[2].machine["resume"] is True
    assert proposer.packets[2].machine["call"] == 1
    full, _ = run([DialogFullError("full")] * 9)
    assert (full.outcome, full.calls, full.dialogs, full.best) == ("exhausted", 0, 3, None)


def test_a_module_that_was_refused_before_is_not_judged_again():
    judged = []

    def counted(candidate, *rest):
        judged.append(candidate.sha)
        return lint(candidate, *rest)

    first = scripted.refused(1)
    result, proposer = run([first, scripted.refused(2), first], stages=replace(LINT_ONLY,
                           lint=counted))  # fmt: skip
    assert judged == [source_sha(first), source_sha(scripted.refused(2))]
    assert result.calls == 3
    assert "the module of call 1 again" in proposer.packets[3].text


def test_failures_of_our_own_are_repeated_and_cost_the_operator_no_call():
    left = [ServiceError("the service is away"), OSError("a disk fails"), RuntimeError("a bug")]

    def flaky(*arguments):
        if left:
            raise left.pop()
        return lint(*arguments)

    result, _ = run([scripted.refused(1)], SessionConfig(infra_retries=3, infra_wait_s=0),
                    replace(LINT_ONLY, lint=flaky))  # fmt: skip
    assert (result.outcome, result.calls, result.infra_errors) == ("exhausted", 1, 3)
    assert result.lint.passed is False


def test_a_failure_of_our_own_that_stays_judges_nobody_and_is_tried_by_the_next_run(tmp_path):
    config = SessionConfig(infra_retries=1, infra_wait_s=0)
    proposer = scripted.Scripted([scripted.refused(1)])

    def broken(*arguments):
        raise ServiceError("the service is away")

    with open_trace(EXP, INTERPRETER, proposer, config, tmp_path / "exp.jsonl") as trace:
        result = run_session(EXP, INTERPRETER, proposer, replace(LINT_ONLY, lint=broken), config,
                             trace)  # fmt: skip
    assert result.outcome == "infra_error"
    assert "lint broke 2 times: ServiceError: the service is away" in result.reason
    with open_trace(EXP, INTERPRETER, proposer, config, tmp_path / "exp.jsonl") as trace:
        result = run_session(EXP, INTERPRETER, proposer, LINT_ONLY, config, trace)
    assert (result.outcome, result.calls, result.infra_errors) == ("exhausted", 1, 2)


def process(trace, killed_at=0):
    ended = subprocess.run([sys.executable, scripted.__file__, str(trace), str(killed_at)],
                           capture_output=True, text=True, timeout=120, check=False,
                           cwd=Path(__file__).parents[4])  # fmt: skip
    lines = ended.stdout.split("\n")
    linted = [line.split()[1] for line in lines if line.startswith("linted")]
    return ended, linted, next((line for line in lines if line.startswith("ended")), "")


def test_a_killed_session_goes_on_where_it_was_and_judges_nothing_twice(tmp_path):
    whole, linted, end = process(tmp_path / "whole.jsonl")
    assert whole.returncode == 0, whole.stderr
    assert end.startswith("ended exhausted 45 3")
    assert len(linted) == 45
    trace, together = tmp_path / "killed.jsonl", []
    for killed_at in (1, 2, 16, 45):
        ended, seen, _ = process(trace, killed_at)
        assert ended.returncode == -9, ended.stderr
        together += seen
    # A kill while a line is written leaves a part of it.
    before = trace.read_bytes()
    trace.write_bytes(before + b'{"what": "result", "name": "prop')
    _, seen, again = process(trace)
    assert trace.read_bytes().startswith(before)
    assert together + seen == linted
    assert again == end

    def said(path):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [(line["what"], line.get("name")) for line in lines]

    assert said(trace) == said(tmp_path / "whole.jsonl")


def test_a_finished_session_is_read_and_not_run_again(tmp_path):
    config = SessionConfig(sessions=1, calls=2)
    results = []
    for sources in ([scripted.refused(1), scripted.refused(2)], []):
        proposer = scripted.Scripted(sources)
        with open_trace(EXP, INTERPRETER, proposer, config, tmp_path / "exp.jsonl") as trace:
            results.append(run_session(EXP, INTERPRETER, proposer, LINT_ONLY, config, trace))
    assert results[0] == results[1]
    assert results[0].best.source == scripted.refused(2)
    assert results[0].best.call_no == 2


def test_a_trace_of_other_options_in_use_or_damaged_is_refused(tmp_path):
    file, proposer = tmp_path / "exp.jsonl", scripted.Scripted([])
    with (
        open_trace(EXP, INTERPRETER, proposer, SessionConfig(), file),
        pytest.raises(AlreadyRunningError, match="another process writes"),
    ):
        open_trace(EXP, INTERPRETER, proposer, SessionConfig(), file)
    with pytest.raises(ConfigError, match="trace of another session"):
        open_trace(EXP, INTERPRETER, proposer, SessionConfig(calls=7), file)
    file.write_text("[]\n")
    with pytest.raises(DatasetUnreadableError, match="line 1 is no event"):
        open_trace(EXP, INTERPRETER, proposer, SessionConfig(), file)


def test_a_trace_whose_events_were_changed_is_not_followed(tmp_path):
    file, config = tmp_path / "exp.jsonl", SessionConfig(sessions=1, calls=1)
    proposer = scripted.Scripted([scripted.refused(1)])
    with open_trace(EXP, INTERPRETER, proposer, config, file) as trace:
        run_session(EXP, INTERPRETER, proposer, LINT_ONLY, config, trace)
    file.write_text(file.read_text().replace("lint failed feedback", "lint passed compile"))
    with (
        open_trace(EXP, INTERPRETER, proposer, config, file) as trace,
        pytest.raises(DatasetUnreadableError, match="where move 'lint failed feedback' is"),
    ):
        run_session(EXP, INTERPRETER, proposer, LINT_ONLY, config, trace)
