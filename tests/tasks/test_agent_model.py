"""An agent behind the seams that language models stand behind, played by a scripted model."""

import asyncio
import json

import pytest

from models.detection.config import DetectConfig
from models.detection.gathering import gather
from models.detection.work import examiner_of, investigate, key_of
from models.kernels import find_profile
from models.kernels.feedback import FeedbackPacket
from models.kernels.operators import find_operator
from models.kernels.prompts.render import example
from models.kernels.propose import LanguageModelProposer, ModelAsker
from models.llm import (
    LanguageModel,
    LanguageModelError,
    Options,
    Request,
    ScriptedModel,
    ToolSpec,
    assistant,
    generate_value,
    system,
    user,
)
from models.llm.blocking import run
from models.llm.errors import BadRequestError, UnsupportedError
from tasks.agent_model import NoAnswerError, agent_model, asked_model
from tasks.detect import _judge_of
from tests.models.agents.played import calls, finishes

PROFILE, EXP = find_profile("interpreter"), find_operator("exp")
MODULE = example("exp")
WRONG = MODULE.replace("tl.exp(x)", "tl.exp(x + 1.0)")


def fenced(source):
    return f"```python\n{source}\n```"


def said(model):
    return [[m.text for m in r.messages if m.role != "system"] for r in model.requests]


def test_an_agent_writes_a_kernel_and_mends_it_in_the_same_conversation(tmp_path):
    model = ScriptedModel([
        calls(("think", {"thought": "one kernel"})), finishes(fenced(WRONG)), fenced(MODULE)
    ])  # fmt: skip
    with agent_model(model, "kernel-writer", tmp_path / "agents") as agent:
        assert isinstance(agent, LanguageModel)
        writer = LanguageModelProposer(ModelAsker(agent), document=lambda spec: spec)
        first = writer.propose(EXP, PROFILE, None)
        assert first.source.strip() == WRONG
        assert first.proposer == "llm:agent:kernel-writer:scripted:script"
        packet = FeedbackPacket(kind="accuracy", machine={"sha": first.sha}, text="off by a factor")
        second = writer.propose(EXP, PROFILE, packet)
        assert (second.source.strip(), second.parent_sha) == (MODULE, first.sha)
        assert agent.dialogs == 1
        last = model.requests[-1].messages
        assert "they give you no instruction" in last[0].text
        assert "| off by a factor" in last[-1].text
        asked = [message.text for message in last if message.role == "user"]
        assert "Write the operator `exp`" in asked[0]
        use = writer.use("exp")
        assert (use.calls, len(model.requests)) == (2, 3)
        assert use.prompt_tokens > 3_000
    assert [file.name.partition("-")[0] for file in (tmp_path / "agents").glob("*.conversation")]


def test_a_dialog_that_does_not_continue_opens_another_conversation_and_is_told_whole():
    model = ScriptedModel(["one", "two", "three", "four"])
    with agent_model(model, "a") as agent:
        ask = agent.blocking.generate
        assert ask([user("a")]).text == "one"
        assert ask([user("a"), assistant("else"), user("b")]).text == "two"
        told = [user("a"), assistant("x"), user("c"), assistant("y"), user("d")]
        assert ask(told).text == "three"
        # The same questions under other rules are another dialog.
        assert ask([system("Be brief."), user("a"), assistant("one"), user("b")]).text == "four"
    assert said(model) == [
        ["a"], ["a", "one", "b"],
        ["a\n\nYou answered:\nx\n\nc\n\nYou answered:\ny\n\nd"],
        ["a\n\nYou answered:\none\n\nb"],
    ]  # fmt: skip
    assert model.requests[-1].messages[0].text.startswith("Be brief.")


def test_a_value_that_does_not_fit_is_mended_in_the_conversation_that_gave_it():
    model = ScriptedModel(["none", '{"n": 1}'])
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    with agent_model(model, "a") as agent:
        found = run(generate_value(agent, "How many?", schema))
    assert (found.value, found.repairs) == ({"n": 1}, 1)
    first, second = model.requests
    assert json.dumps(schema["required"]) in first.messages[0].text
    assert [m.role for m in second.messages if m.role != "system"] == ["user", "assistant", "user"]
    assert found.replies[0].usage.prompt_tokens > 0
    assert {reply.source for reply in found.replies} == {"scripted"}


def test_many_dialogs_at_once_do_not_mix_and_few_stay_open():
    model = ScriptedModel([], otherwise="yes")
    with agent_model(model, "a") as agent:
        rows = agent.blocking.batch([f"question {n}" for n in range(12)])
        assert [row.text for row in rows] == ["yes"] * 12
        assert agent.dialogs == 8
        agent.blocking.generate([user("question 11"), assistant("yes"), user("sure?")])
        assert said(model)[-1] == ["question 11", "yes", "sure?"]
    assert agent.dialogs == 0


def test_what_an_agent_cannot_answer_is_an_error_of_language_models(tmp_path):
    with agent_model(ScriptedModel([]), "a", tmp_path) as agent:
        with pytest.raises(NoAnswerError, match="gave no answer: error"):
            agent.blocking.generate("a")
        with pytest.raises(BadRequestError, match="must end with a user's message"):
            agent.blocking.generate([user("a"), assistant("b")])
        with pytest.raises(UnsupportedError, match="tools of its own"):
            agent.blocking.generate(Request((user("a"),), Options(tools=(ToolSpec("t"),))))
        assert agent.dialogs == 0
    assert issubclass(NoAnswerError, LanguageModelError)


def test_an_agent_stops_when_nobody_waits_for_it():
    class Slow(ScriptedModel):
        async def _generate(self, request):
            await asyncio.sleep(30)

    async def ask(agent):
        async with asyncio.timeout(0.2):
            await agent.generate("a")

    with agent_model(Slow([]), "a") as agent, pytest.raises(TimeoutError):
        run(ask(agent))
    assert agent.dialogs == 0


def test_a_config_says_who_answers(tmp_path):
    (tmp_path / "play.yaml").write_text("rules: []\notherwise: hello\n")
    address = f"scripted:{tmp_path / 'play.yaml'}"
    for asker, name in (("model", "scripted:"), ("agent", "agent:judge:scripted:")):
        with asked_model(address, asker, "judge") as model:
            assert model.name.startswith(name)
            assert run(model.generate("hi")).text == "hello"


def test_an_agent_judges_sessions_and_its_conversations_are_kept_apart(loom_home, tmp_path):
    vote = json.dumps({"outcome": "attempted", "reason": "it did not follow"})
    (tmp_path / "play.json").write_text(json.dumps({"rules": [], "otherwise": vote}))
    config = DetectConfig(judge=f"scripted:{tmp_path / 'play.json'}", asker="agent")
    sessions = gather(config, loom_home).sessions
    with _judge_of(config) as judge:
        judge.band = 1.0
        found = [record.verdict for _, record in investigate(examiner_of(config, judge), sessions)]
    voted = [one for one in found if one.judge]
    assert len(voted) == judge.asked >= 3
    assert judge.failed == 0
    assert all(one.judge.startswith("agent:judge:scripted:") for one in voted)
    own = loom_home / "detection" / "judge"
    assert len([*own.glob("judge-*.conversation")]) == judge.asked
    assert gather(DetectConfig(installation=True), loom_home).sessions == ()
    examiner = examiner_of(config)
    assert key_of(config, examiner) != key_of(
        config.model_copy(update={"asker": "model"}), examiner
    )
