"""`loom agent` as a user meets it: words, JSON lines and exit codes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.agents.home import AgentHome
from models.agents.store import new_key
from models.settings import ROOT
from tests.flows.agent_words import Loom, saying
from tests.models.agents.serving import call, script


@pytest.fixture
def loom(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Loom:
    return saying(capfd, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., str]:
    return lambda *replies: script(tmp_path, list(replies))


def test_run_shows_what_happens_and_ends_with_zero(loom: Loom, model: Any, tmp_path: Path):
    address = model(call("create", path="a.txt", text="hello\n"), call("finish", message="done"))
    work = tmp_path / "work"
    words = ["--model", address, "--id", "one", "--workspace", work, "--make-workspace"]
    said = loom("run", "say hi", *words)
    assert said.code == 0
    assert said.out.startswith('> say hi\n* create {"path":"a.txt"')
    assert said.out.endswith("done\n")
    assert "one is finished (2 steps, $0.0000)" in said.err
    assert (work / "a.txt").read_text() == "hello\n"
    shown = loom("show", "one", "--json").lines[0]
    assert (shown["phase"], shown["final"]) == ("finished", "done")
    assert [row["id"] for row in loom("ls", "SAY", "--json").lines] == ["one"]
    assert loom("ls", "nothing like it").out.count("\n") == 1
    again = loom("run", "x", "--model", address, "--id", "one")
    assert (again.code, "loom agent resume one" in again.err) == (2, True)


def test_a_workspace_that_is_not_there_is_refused_unless_it_is_to_be_made(
    loom: Loom, model: Any, tmp_path: Path
):
    words = ["run", "go", "--model", model("Hello."), "--workspace"]
    (tmp_path / "project").mkdir()
    typo = loom(*words, tmp_path / "projct")
    told = f"workspace {tmp_path}/projct is not there (did you mean {tmp_path}/project?)"
    assert (typo.code, told in typo.err, "--make-workspace" in typo.err) == (2, True, True)
    deep = loom(*words, tmp_path / "a" / "b")
    assert (deep.code, f"{tmp_path}/a is not either" in deep.err) == (2, True)
    file = loom(*words, Path(words[3][9:]))
    assert (file.code, "is a file; name a folder" in file.err) == (2, True)
    assert not (tmp_path / "projct").exists()
    assert not (tmp_path / "a").exists()
    assert loom("ls", "--json").lines == []
    new = loom(*words, tmp_path / "a" / "b", "--make-workspace")
    assert (new.code, new.out) == (0, "> go\nHello.\n")
    assert (tmp_path / "a" / "b").is_dir()
    assert loom(*words, tmp_path / "project").code == 0


def test_a_list_says_what_is_locked_and_what_is_damaged(
    loom: Loom, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ["run", "say hi", "--model", model("Hello."), "--home", tmp_path, "--id"]
    monkeypatch.setenv("LOOM_AGENTS_STORE_KEY", new_key())
    assert loom(*words, "closed").code == 0
    assert loom("ls", "--home", tmp_path).out.endswith("  say hi\n")
    monkeypatch.delenv("LOOM_AGENTS_STORE_KEY")
    assert loom(*words, "open").code == 0
    (tmp_path / "cut.conversation").write_bytes(b"")
    lines = {line.split()[0]: line for line in loom("ls", "--home", tmp_path).out.splitlines()}
    assert lines["closed"].split()[1] == "encrypted"
    assert "is encrypted; open its store with the key" in lines["closed"]
    assert "damaged" not in lines["closed"]
    assert "damaged: " in lines["cut"]
    assert "is empty (0 bytes)" in lines["cut"]
    assert lines["open"].endswith("  say hi")
    cut = loom("resume", "cut", "go on", "--home", tmp_path)
    assert cut.code == 2


def test_json_lines_are_the_events_and_then_the_outcome(loom: Loom, model: Any):
    said = loom("run", "2 + 2?", "--model", model("Four."), "--json")
    *events, outcome = said.lines
    assert [event["kind"] for event in events] == [
        "started", "system", "title", "user", "status", "answer", "status",
    ]  # fmt: skip
    assert [event["seq"] for event in events] == [*range(1, 8)]
    assert (outcome["type"], outcome["text"], outcome["exit_code"]) == ("outcome", "Four.", 0)


def test_what_waits_exits_with_three_until_somebody_decides(loom: Loom, model: Any):
    address = model(call("create", path="a", text="x"))
    said = loom("run", "go", "--model", address, "--id", "w", "--policy", "always")
    assert said.code == 3
    assert 'waits for an approval: create {"path":"a","text":"x"}' in said.err
    (waiting,) = loom("show", "w", "--json").lines[0]["open_calls"]
    seen = ["--digest", waiting["digest"]]
    assert f"loom agent approve w {' '.join(seen)}\n" in said.err
    assert loom("approve", "w", "nobody").code == 2
    assert loom("approve", "w", "--digest", "other").code == 2
    unseen = loom("approve", "w")  # nobody sits at the keyboard of a test
    assert (unseen.code, "allow all that waits unseen (--all)" in unseen.err) == (2, True)
    allowed = loom("approve", "w", *seen, "--no-run")
    assert (allowed.code, allowed.out) == (0, "  [approved by command line]\n")
    # The script begins anew in each process: the next answer asks again, and is refused.
    assert loom("resume", "w").code == 3
    refused = loom("approve", "w", "--reject", "not on a Friday", "--no-run")
    assert (refused.code, refused.out) == (0, "  [rejected] rejected: not on a Friday\n")
    results = [line for line in loom("replay", "w", "--json").lines if line["kind"] == "result"]
    assert results[0]["body"]["text"] == "created a, 1 lines"
    assert results[1]["body"]["text"] == "rejected: not on a Friday"


def test_a_call_that_waits_is_shown_whole_and_nothing_else_is_allowed(
    loom: Loom, model: Any, tmp_path: Path
):
    hidden = "echo harmless" + " \u00a0" * 200 + "; echo EVIL > evil.txt"
    calls = [call("terminal", command=hidden), call("create", path="b", text="x")]
    address = model({"tool_calls": [one for each in calls for one in each["tool_calls"]]}, "Done.")
    words = ["--policy", "always", "--id", "w", "--workspace", tmp_path]
    said = loom("run", "go", "--model", address, *words)
    shown = 'terminal {"command":"echo harmless[400 spaces]; echo EVIL > evil.txt"}'
    assert f"waits for an approval: {shown}" in said.err
    terminal, create = loom("show", "w", "--json").lines[0]["open_calls"]
    assert f"--digest {terminal['digest']} --digest {create['digest']}\n" in said.err
    assert loom("approve", "w", "--digest", create["digest"]).code == 3
    assert (tmp_path / "b").exists()
    again = loom("resume", "w")  # shown again, though nothing new was written
    assert (again.code, shown in again.err, create["digest"] in again.err) == (3, True, False)
    assert loom("approve", "w", "--digest", create["digest"]).code == 2
    loom("approve", "w", "--all")
    assert (tmp_path / "evil.txt").exists()


def test_nothing_that_is_printed_moves_the_cursor_or_hides(loom: Loom, model: Any, tmp_path: Path):
    raw = "\x1b]0;owned\x07\x1b[2J\x9b2K\u202e\u200btxt\rover"
    steps = [
        {"text": f"look {raw}", "tool_calls": call(f"no{raw}\n* tool")["tool_calls"]},
        call("create", path="a", text=raw),
        call("view", path="a"),
        f"done {raw}",
    ]
    words = ["--model", model(*steps), "--id", "e", "--workspace", tmp_path]
    refused = loom("resume", f"x{raw}")
    said = loom("run", f"hi {raw}", *words)
    assert said.out.count("\\x1b[2J\\x9b2K\\u202e") >= 5
    assert "\n* no\\x1b]0;owned" in said.out
    assert "\n* tool" not in said.out
    waits = loom("run", "hi", "--model", words[1], "--policy", "always", "--id", "w")
    printed = [refused, said, waits, loom("ls"), loom("show", "e"), loom("replay", "e")]
    text = "".join(one.out + one.err for one in printed)
    assert [one for one in "\x1b\x07\x9b\u202e\u200b\r" if one in text] == []


def test_rules_decide_without_people(loom: Loom, model: Any, tmp_path: Path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n"
        "  - {tool: create, match: secret, do: reject, why: not that one}\n"
        "  - {tool: 'cr*', do: approve}\n"
    )
    replies = [
        call("create", path="secret", text="x"),
        call("create", path="a", text="x"),
        call("glob", pattern="*"),
    ]
    said = loom(
        "run", "go", "--model", model(*replies), "--policy", "always", "--approvals", rules,
    )  # fmt: skip
    assert said.code == 3  # no rule speaks of glob
    assert "[rejected] rejected: not that one" in said.out
    assert "  [approved by rule]\n" in said.out
    assert "waits" not in said.out
    assert said.err.count("waits for an approval: ") == 1
    assert "* glob" in said.out.splitlines()[-1]
    rules.write_text("rules: [{tool: create, mtach: x}]\n")
    bad = loom("run", "go", "--model", model("x"), "--approvals", rules)
    assert (bad.code, "no config key named 'rules.0.mtach'" in bad.err) == (2, True), bad.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "x"], "name a model: --model openai/gpt-5"),
        (["run", "x", "--model", "openai"], "is no address of a model"),
        (["run", "x", "--model", "scripted:nowhere"], "cannot be read"),
        (
            ["run", "x", "--model", "a/b", "--policy", "often"],
            "'never', 'alarms', 'risky' or 'always'",
        ),
        (["run", "x", "--model", "a/b", "--tool", "termnal"], "did you mean 'terminal'"),
        (["run", "x", "--model", "a/b", "--usd", "-1"], "greater than or equal to 0"),
        (["run", "x", "--agent", "nowhere.yaml"], "agent file nowhere.yaml does not exist"),
        (["run", "x", "--model", "a/b", "--secret", "NOT_SET"], "no variable of this name"),
        (["resume", "nobody"], "no conversation 'nobody'"),
        (["show", "../x"], "cannot name a conversation"),
        (["export", "nobody"], "no conversation 'nobody'"),
        (["replay", "nowhere.jsonl"], "no export nowhere.jsonl; name a file"),
        (["serve", "--host", "0.0.0.0"], "LOOM_AGENTS_KEY"),
        (["serve", "--durability", "much"], "durability"),
        (["serve", "--tool", "nope:nope"], "--tool: no tool named 'nope:nope'"),
        (["serve", "--analyzer", "nope:nope"], "--analyzer: analyzer 'nope:nope' cannot be loaded"),
        (["serve", "--analyzer", "os:path"], "--analyzer: analyzer 'os:path' cannot be loaded"),
        (["serve", "--root", "/nonexist"], "--root: folder /nonexist is not there"),
        (["serve", "--model", "scriptd:x"], "--model: no form of a model's address"),
        (["run", "x", "--model", "scripted:"], "'scripted:' names no model"),
        (["run", "x", "--model", "a/b", "--threshold", "hihg"], "--threshold: 'policy.threshold'"),
        (["run", "x", "--model", "a/b", "--mcp", "none.json"], "none.json: No such file"),
        (["frob"], "No such command"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_two(loom: Loom, words: list[str], told: str):
    said = loom(*words)
    assert said.code == 2, said.err
    assert told in said.err
    assert said.err.count("error: ") == 1


def test_a_failed_run_exits_with_one_and_says_why(loom: Loom, model: Any):
    pings = [call("glob", pattern=str(n)) for n in range(5)]
    said = loom("run", "go", "--model", model(*pings), "--steps", "2")
    assert (said.code, "all steps are used up" in said.err) == (1, True)


def test_a_budget_that_was_used_up_can_be_raised(loom: Loom, model: Any):
    address = model(call("todo"), "Done.")
    said = loom("run", "go", "--model", address, "--steps", "0", "--id", "poor")
    assert (said.code, "give it more: loom agent resume poor" in said.err) == (1, True)
    assert loom("resume", "poor").code == 1
    wrong = loom("resume", "poor", "--steps", "-1")
    assert (wrong.code, "--steps: 'steps'" in wrong.err) == (2, True)
    assert loom("resume", "poor", "--steps", "5", "--usd", "1.5").out.endswith("Done.\n")
    budget = loom("show", "poor", "--json").lines[0]["agent"]["budget"]
    assert (budget["steps"], budget["usd"], budget["tokens"]) == (5, 1.5, None)
    assert loom("resume", "nobody", "--steps", "5").code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--secret", "NOT_SET"], "there is no variable of this name"),
        (["--approvals", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--model", "opnai/gpt-5"], "no provider named 'opnai' (of 'opnai/gpt-5'); did you mean"),
    ],
)
def test_a_wrong_option_begins_nothing(loom: Loom, model: Any, words: list[str], told: str):
    right = ["run", "go", "--model", model("Done."), "--id", "one"]
    wrong = loom(*right, *words)
    assert (wrong.code, told in wrong.err) == (2, True), wrong.err
    assert loom("ls", "--json").lines == []
    assert loom(*right).code == 0


def test_an_empty_task_and_a_wrong_budget_begin_nothing(loom: Loom, model: Any):
    empty = loom("run", "  ", "--model", model("x"))
    assert (empty.code, "the task is empty" in empty.err) == (2, True)
    wrong = loom("run", "go", "--model", model("x"), "--usd", "-1")
    assert (wrong.code, "--usd, --tokens" in wrong.err, "--set" in wrong.err) == (2, True, False)
    assert loom("ls", "--json").lines == []


def test_show_checks_all_records_of_a_log(loom: Loom, model: Any, tmp_path: Path):
    home = tmp_path / "talks"
    loom("run", "go", "--model", model(call("todo"), "Done."), "--id", "a", "--home", home)
    with sqlite3.connect(home / "a.conversation") as file:
        file.execute("UPDATE event SET body = CAST('{}' AS BLOB) WHERE seq = 3")
    shown = loom("show", "a", "--home", home, "--json").lines[0]
    assert shown["damage"] == {"intact_seq": 2, "why": "event 3 is not as it was written"}
    exported = loom("export", "a", "--home", home)
    assert (exported.code, "damaged after event 2" in exported.err) == (2, True)


def test_forks_exports_and_replays(loom: Loom, model: Any, tmp_path: Path):
    address = model("Four.")
    loom("run", "2 + 2?", "--model", address, "--id", "a")
    for at in ("999", "-3"):
        assert (loom("fork", "a", "--at", at).code, len(loom("ls", "--json").lines)) == (2, 1)
    assert loom("fork", "a", "--at", "4").out == "a-fork-1\n"
    assert loom("resume", "a-fork-1", "3 + 1?").code == 0
    file = tmp_path / "a.jsonl"
    assert loom("export", "a", "--out", file).code == 0
    assert loom("export", "a").out == file.read_text()
    shown = loom("replay", file)
    assert shown.out == loom("replay", "a", "--speed", "1000").out == "> 2 + 2?\nFour.\n"
    file.write_text(file.read_text().replace("Four.", "Five."))
    torn = loom("replay", file)
    assert (torn.code, "is not as it was written" in torn.err) == (2, True)
    assert loom("export", "a", "--out", tmp_path).code == 2


def test_secrets_come_from_variables_and_stay_hidden(
    loom: Loom, model: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MY_TOKEN", "s3cret-value")
    address = model("It is s3cret-value.")
    said = loom("run", "tell s3cret-value", "--model", address, "--secret", "MY_TOKEN")
    assert said.out == "> tell [secret:MY_TOKEN]\nIt is [secret:MY_TOKEN].\n"


def test_a_talk_at_the_keyboard(loom: Loom, model: Any, monkeypatch: pytest.MonkeyPatch):
    lines = iter(["hello", "n", "/cost", "/title Ours", "/plan", "/help", "more"])

    def given(prompt: str = "") -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", given)
    address = model(call("create", path="a", text="x"), "Then not.", "More.")
    said = loom("chat", "--model", address, "--policy", "always", "--id", "c")
    assert said.code == 0
    assert 'waits for an approval: create {"path":"a","text":"x"}' in said.err
    assert "  [rejected] rejected: no reason was given\n" in said.out
    assert "Then not.\n" in said.out
    assert said.out.endswith("More.\n")
    assert "2 steps, $0.0000\nOurs\nthere is no plan" in said.err
    assert loom("show", "c", "--json").lines[0]["title"] == "Ours"


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}


def test_a_signal_interrupts_and_resume_goes_on(loom: Loom, model: Any):
    address = model({"text": "late", "delay_s": 60})
    words = ["run", "go", "--model", address, "--id", "s", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "agent", *words],
        cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if json.loads(line)["kind"] == "status":
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75, err
    assert json.loads(out.splitlines()[-1])["phase"] == "paused"
    Path(address.removeprefix("scripted:")).write_text("replies: [In time.]\n")
    said = loom("resume", "s")
    assert (said.code, said.out) == (0, "In time.\n")


def test_a_conversation_that_runs_elsewhere_keeps_what_is_said(
    loom: Loom, model: Any, tmp_path: Path
):
    loom("run", "go", "--model", model("Hello."), "--id", "one", "--home", tmp_path)
    # The test's own process holds the lease: another owner of the same log.
    log = AgentHome(tmp_path).store.open("one")
    log.acquire()
    said = loom("resume", "one", "more", "--home", tmp_path)
    log.close()
    assert said.code == 4
    assert f"run by process {os.getpid()} on " in said.err
    assert "what you said is written down" in said.err
    assert "take over" not in said.err
    assert "> more\n" in loom("replay", "one", "--home", tmp_path).out


def test_another_model_goes_on_with_a_conversation(loom: Loom, model: Any, monkeypatch: Any):
    loom("run", "go", "--model", model("Hello."), "--id", "one")
    other = ["--model", model("From another.")]
    assert loom("resume", "one", "more", *other).out == "> more\nFrom another.\n"
    monkeypatch.setattr("builtins.input", lambda _: "/quit")
    assert loom("chat", "--id", "one", *other).code == 0
    refused = loom("chat", "--id", "one", "--policy", "always")
    assert (refused.code, "only --model and --agent change it" in refused.err) == (2, True)


def test_it_works_without_prefect_and_mlflow_and_is_served(model: Any, tmp_path: Path):
    code = (
        "import sys; sys.argv = ['loom', 'agent', 'run', 'go', '--model', sys.argv[1]]\n"
        "from flows.__main__ import _main\n"
        "assert _main() == 0\n"
        "print([m for m in ('prefect', 'mlflow', 'fastapi', 'litellm', 'torch') "
        "if m in sys.modules])"
    )
    words = [sys.executable, "-c", code, model("Hello.")]
    done = subprocess.run(words, cwd=ROOT, env=_environment(), capture_output=True, text=True)
    assert done.stdout.endswith("Hello.\n[]\n"), done.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "agent", "serve", "--port", "0"],
        cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = process.stdout.readline().strip()
        rows = httpx.get(f"{url}/api/conversations", timeout=30).json()["conversations"]
        assert [row["title"] for row in rows] == ["go"]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
