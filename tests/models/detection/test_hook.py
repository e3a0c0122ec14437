"""The hook of coding agents, as a process; the guard in a run of our own agents."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.agents import Agent, ConfirmRisky
from models.agents.events import Intent, Result
from models.agents.hooks import Hook
from models.agents.spec import AgentSpec
from models.agents.workspace import LocalWorkspace
from models.detection.guard import SecretGuard
from models.detection.secrets.generate import drawn
from models.detection.secrets.rules import read_rules
from models.llm import ScriptedModel, ToolCall
from models.settings import ROOT

RULES = {rule.id: rule for rule in read_rules()}
VALUE = drawn(RULES["github_token"], random.Random(41))
COMMAND = [sys.executable, "-m", "models.detection.hook"]


def judged(event: Any, *options: str) -> subprocess.CompletedProcess[str]:
    text = event if isinstance(event, str) else json.dumps(event)
    return subprocess.run(
        [*COMMAND, *options], input=text, capture_output=True, text=True, cwd=ROOT, timeout=60
    )


def call(command: str, **more: Any) -> dict[str, Any]:
    return {
        "hook_event_name": "PreToolUse", "session_id": "s", "transcript_path": "/t/x.jsonl",
        "tool_name": "Bash", "tool_input": {"command": command}, **more,
    }  # fmt: skip


def test_a_call_with_a_credential_is_blocked_by_exit_code_2_and_told_without_it():
    done = judged(call(f"curl -H 'Authorization: token {VALUE}' https://api.github.com"))
    assert done.returncode == 2
    assert "github_token (GitHub)" in done.stderr
    assert VALUE not in done.stderr + done.stdout


def test_a_prompt_with_a_credential_is_blocked_and_any_other_passes():
    event = {"hook_event_name": "UserPromptSubmit", "prompt": f"my key is {VALUE}"}
    assert judged(event).returncode == 2
    done = judged({"hook_event_name": "UserPromptSubmit", "prompt": "mend the tests"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_only_assigned_like_one_is_blocked_when_asked_for():
    event = {"tool_input": {"service_token": "q7Zt9Lk2mNp4Rs6Vw8XyB3"}, "tool_name": "call"}
    assert judged(event).returncode == 0
    assert judged(event, "--strict").returncode == 2


@pytest.mark.parametrize(
    ("name", "allowed", "denied"),
    [
        ("beforeSubmitPrompt", {"continue": True}, {"continue": False}),
        ("beforeShellExecution", {"permission": "allow"}, {"permission": "deny"}),
        ("beforeMCPExecution", {"permission": "allow"}, {"permission": "deny"}),
    ],
)
def test_cursor_is_answered_in_its_words(
    name: str, allowed: dict[str, Any], denied: dict[str, Any]
):
    passed = judged({"hook_event_name": name, "prompt": "hello", "command": "ls"})
    assert (passed.returncode, json.loads(passed.stdout)) == (0, allowed)
    stopped = judged({"hook_event_name": name, "prompt": VALUE, "command": f"echo {VALUE}"})
    answer = json.loads(stopped.stdout)
    assert stopped.returncode == 2
    assert denied.items() <= answer.items()
    assert "github_token" in answer["user_message"]


@pytest.mark.parametrize("broken", ["", "{", "[]", "[" * 5_000 + "]" * 5_000, "null"])
def test_an_event_that_cannot_be_judged_is_blocked_unless_asked_otherwise(broken: str):
    done = judged(broken)
    assert done.returncode == 2
    assert "could not judge this event" in done.stderr
    assert "Traceback" not in done.stderr
    done = judged(broken, "--on-failure", "open")
    assert done.returncode == 0
    assert "it passes, as --on-failure open says" in done.stderr


def test_a_deeply_nested_event_is_blocked():
    values: Any = "x"
    for _ in range(400):
        values = {"a": values}
    assert judged({"tool_input": values}).returncode == 2


def test_our_own_agents_are_stopped_by_the_hook_as_a_command(tmp_path: Path):
    model = ScriptedModel(
        [ToolCall.of("", "terminal", {"command": f"echo {VALUE} > leaked"}), "Then not."]
    )
    agent = Agent(model, ["terminal"], hooks=[Hook("PreToolUse", COMMAND)])
    talk = agent.open(LocalWorkspace(tmp_path / "w")).blocking
    assert talk.send("go").text == "Then not."
    (result,) = [e.body for e in talk._it.events(kinds=[Result.kind])]
    assert "github_token" in result.text
    assert not (tmp_path / "w/leaked").exists()
    talk.close()


def test_the_guard_is_named_in_an_agent_and_makes_a_call_wait(tmp_path: Path):
    spec = AgentSpec(model="a/b", analyzer="models.detection.guard:SecretGuard")
    analyzer = spec.build().analyzer
    assert isinstance(analyzer, SecretGuard)
    calls = [
        ToolCall.of("", "terminal", {"command": f"echo {VALUE} > leaked"}),
        ToolCall.of("", "terminal", {"command": "echo fine"}),
    ]
    agent = Agent(
        ScriptedModel([calls[0], calls[1], "Done."]), ["terminal"],
        policy=ConfirmRisky("high", unknown=False), analyzer=analyzer,
    )  # fmt: skip
    talk = agent.open(LocalWorkspace(tmp_path / "w")).blocking
    assert talk.send("go").phase == "waiting"
    (intent,) = [e.body for e in talk._it.events(kinds=[Intent.kind])]
    assert intent.risk == "high"
    assert "github_token" in intent.reasons[0]
    assert VALUE not in intent.reasons[0]
    talk.reject(why="no keys in commands")
    talk.run()
    assert not (tmp_path / "w/leaked").exists()
    talk.close()


def test_all_analyzers_are_asked_where_the_rails_come_along():
    spec = AgentSpec(model="a/b", analyzer="models.detection.guard:rails")
    asked = [type(one).__name__ for one in spec.build().analyzer.analyzers]
    assert asked == ["ShellRails", "SecretGuard", "CallGuard"]
