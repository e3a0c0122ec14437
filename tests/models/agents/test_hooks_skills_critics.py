"""Hooks, skills, context files and critics."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.agents import Conversation
from models.agents.context.skills import Skill, read_skill, read_skills
from models.agents.critic import ModelCritic, Score
from models.agents.errors import LifecycleError
from models.agents.events import Note, Notice, Result, SystemPrompt
from models.agents.hooks import Hook, Verdict
from models.agents.prompting import title_of
from models.errors import ConfigError
from models.llm import Request
from models.llm.errors import ServerError
from tests.models.agents.played import bodies, calls, finishes

Talk = Callable[..., Conversation]


async def _send(conversation: Conversation, text: str = "go") -> Any:
    return await conversation.send(text)


def program(file: Path, code: str) -> list[str]:
    file.write_text(f"import json, sys\nfacts = json.load(sys.stdin)\n{code}\n")
    return [sys.executable, str(file)]


def test_a_command_that_exits_with_2_blocks_a_call_with_its_reason(talk: Talk, tmp_path: Path):
    code = "print(facts['tool'], facts['arguments'], file=sys.stderr); sys.exit(2)"
    hook = Hook("PreToolUse", program(tmp_path / "h.py", code), match="ping")
    conversation = talk([calls(("ping", {"n": 1}), ("think", {"thought": "x"})), finishes()])
    conversation = talk(conversation.script, hooks=[hook])
    assert asyncio.run(_send(conversation)).ok
    first, second, _ = bodies(conversation, Result)
    assert first.text == 'a hook forbids this call: ping {"n":1}'
    assert second.text == "noted"


def test_a_hook_before_a_tool_that_fails_blocks(talk: Talk, tmp_path: Path):
    for run in (
        program(tmp_path / "h.py", "sys.exit(1)"),
        ["/no/such/program"],
        lambda facts: 1 / 0,
    ):
        conversation = talk([calls(("ping", {})), finishes()], hooks=[Hook("PreToolUse", run)])
        asyncio.run(_send(conversation))
        assert (
            "a hook forbids this call: a PreToolUse hook failed"
            in bodies(conversation, Result)[0].text
        )


def test_a_slow_hook_is_stopped(talk: Talk, tmp_path: Path):
    run = program(tmp_path / "h.py", "import time; time.sleep(30)")
    hook = Hook("PreToolUse", run, timeout_s=0.3)
    conversation = talk([calls(("ping", {})), finishes()], hooks=[hook])
    asyncio.run(_send(conversation))
    assert "TimeoutError" in bodies(conversation, Result)[0].text


def test_hooks_see_every_point_and_may_speak_to_the_model(talk: Talk):
    seen: list[str] = []

    def hear(facts: Any) -> Verdict | None:
        seen.append(facts["point"])
        if facts["point"] == "PostToolUse":
            return Verdict(message=f"remember: {facts['text']}")
        return Verdict(message="be quick") if facts["point"] == "UserPromptSubmit" else None

    async def stops(facts: Any) -> Verdict:
        seen.append("Stop")
        return Verdict(seen.count("Stop") < 2, "run the tests first")

    points = ("PreToolUse", "PostToolUse", "UserPromptSubmit", "SessionStart", "SessionEnd")
    hooks = [*(Hook(point, hear) for point in points), Hook("Stop", stops)]
    conversation = talk([calls(("ping", {"n": 1})), "done?", "done!"], hooks=hooks)

    async def work() -> Any:
        async with conversation:
            return await conversation.send("go")

    assert asyncio.run(work()).text == "done!"
    assert seen == [
        "UserPromptSubmit",
        "SessionStart",
        "PreToolUse",
        "PostToolUse",
        "Stop",
        "Stop",
        "SessionEnd",
    ]
    texts = [message.text for message in conversation.script.requests[-1].messages[1:]]
    assert texts == [
        "go",
        "be quick",
        "",
        "pong 1\n\nremember: pong 1",
        "done?",
        "run the tests first",
    ]


def test_a_hook_may_refuse_a_message(talk: Talk):
    hook = Hook("UserPromptSubmit", lambda facts: Verdict("bad" in facts["text"], "not here"))
    conversation = talk(["fine"], hooks=[hook])
    with pytest.raises(LifecycleError, match="a hook forbids this message: not here"):
        asyncio.run(_send(conversation, "something bad"))
    assert conversation.state.seq == 0
    assert asyncio.run(_send(conversation, "good")).text == "fine"


SKILL = """---
name: release
description: How to cut a release.
triggers: [release, "change log"]
---
1. Tag it.
"""


def test_skills_are_read_from_files_with_front_matter(tmp_path: Path):
    (tmp_path / "release.md").write_text(SKILL)
    (tmp_path / "style").mkdir()
    (tmp_path / "style" / "SKILL.md").write_text("---\nalways: true\n---\nBe terse.")
    (tmp_path / "plain.md").write_text("Just text.")
    plain, release, style = read_skills(tmp_path)
    assert plain == Skill("plain", "Just text.")
    assert release == Skill(
        "release", "1. Tag it.", "How to cut a release.", ("release", "change log")
    )
    assert style == Skill("style", "Be terse.", always=True)
    (tmp_path / "again.md").write_text(SKILL)
    with pytest.raises(ConfigError, match=r"two skills under .* are named 'release'"):
        read_skills(tmp_path)
    (tmp_path / "bad.md").write_text("---\n- a list\n---\nx")
    with pytest.raises(ConfigError, match="front matter cannot be read"):
        read_skill(tmp_path / "bad.md")


def test_triggers_are_whole_words():
    skill = Skill("release", "x", triggers=("release", "change log"))
    assert skill.is_triggered("please RELEASE it")
    assert skill.is_triggered("the change log, then")
    assert not skill.is_triggered("released")


def test_a_skill_comes_when_its_word_does_or_when_it_is_asked_for(talk: Talk):
    release = Skill("release", "Tag it.", "How to release.", ("release",))
    script = [calls(("use_skill", {"name": "release"}), ("use_skill", {"name": "x"})), "a", "b"]
    conversation = talk(script, skills=[release, Skill("style", "Be terse.", always=True)])
    asyncio.run(_send(conversation, "hello"))
    prompt = bodies(conversation, SystemPrompt)[0].text
    assert "# Skill: style\n\nBe terse." in prompt
    assert "- release: How to release." in prompt
    assert "Tag it." not in prompt
    first, second = bodies(conversation, Result)
    assert (first.text, second.text) == ("Tag it.", "no skill 'x'; there are: release, style")
    asyncio.run(_send(conversation, "now release it"))
    assert bodies(conversation, Notice)[0] == Notice("# Skill: release\n\nTag it.", "skill")


def test_the_files_of_a_project_and_its_memory_are_in_the_prompt(talk: Talk, tmp_path: Path):
    (tmp_path / "AGENTS.md").write_text("Use tabs.")
    (tmp_path / "CLAUDE.md").write_text("Use spaces.")
    (tmp_path / "MEMORY.md").write_text("The build takes long.")
    (tmp_path / "mine.md").write_text("I like tests.")
    conversation = talk(["x"], memory=[tmp_path / "mine.md", tmp_path / "absent.md"])
    asyncio.run(_send(conversation))
    prompt = bodies(conversation, SystemPrompt)[0].text
    assert "# AGENTS.md\n\nUse tabs." in prompt
    assert "Use spaces." not in prompt
    assert prompt.index("The build takes long.") < prompt.index("# mine.md\n\nI like tests.")


@dataclass
class Strict:
    """A critic that wants a word."""

    word: str
    threshold: float = 0.5
    rounds: int = 2

    async def score(self, history: Any, final: str, model: Any) -> Score:
        return Score(float(self.word in final), f"say '{self.word}'", cost_usd=0.25)


def test_a_critic_sends_the_agent_back_until_it_is_content(talk: Talk):
    conversation = talk(["no", finishes("please")], critic=Strict("please"))
    outcome = asyncio.run(_send(conversation))
    assert outcome.text == "please"
    assert [note.data["score"] for note in bodies(conversation, Note)] == [0.0, 1.0]
    assert bodies(conversation, Notice)[0].text == (
        "This is not good enough yet (score 0.00). say 'please'"
    )
    assert outcome.cost_usd == 0.5


def test_after_its_rounds_the_work_counts_as_it_is(talk: Talk):
    script = [finishes("a"), finishes("b"), finishes("c")]
    conversation = talk(script, critic=Strict("please"))
    assert asyncio.run(_send(conversation)).text == "c"


def test_a_model_may_be_the_critic_and_its_failure_stops_nothing(talk: Talk):
    verdicts = iter(['{"score": 0.2, "advice": "more"}', ServerError("down")])

    def play(request: Request) -> Any:
        return next(verdicts) if request.purpose == "critic" else "work"

    conversation = talk(play, critic=ModelCritic("do it well"))
    outcome = asyncio.run(_send(conversation))
    assert (outcome.text, outcome.steps) == ("work", 2)
    asked = next(r for r in conversation.script.requests if r.purpose == "critic")
    assert "Goal: do it well" in asked.messages[-1].text


def test_titles_are_the_first_words():
    assert title_of("\n  Fix the build  \nnow") == "Fix the build"
    assert title_of("") == ""
    long = title_of("one two three " * 20)
    assert len(long) <= 60
    assert long.endswith("three...")
