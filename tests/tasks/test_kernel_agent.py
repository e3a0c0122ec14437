"""An agent as the writer of kernels, played by the agents room's scripted model."""

import pytest

from models.agents.errors import LifecycleError
from models.errors import ConfigError
from models.kernels import find_profile
from models.kernels.feedback import FeedbackPacket
from models.kernels.operators import find_operator
from models.kernels.prompts.render import example
from models.kernels.propose import LanguageModelProposer
from models.llm import ScriptedModel, assistant, user
from tasks.kernel_agent import open_kernel_agent
from tests.models.agents.played import calls, finishes

PROFILE, EXP = find_profile("interpreter"), find_operator("exp")
MODULE = example("exp")
WRONG = MODULE.replace("tl.exp(x)", "tl.exp(x + 1.0)")


def fenced(source):
    return f"```python\n{source}\n```"


def asker_of(model, tmp_path, **fields):
    return open_kernel_agent(model, tmp_path / "work", **fields)


def test_an_agent_writes_a_module_and_mends_it_in_the_same_conversation(tmp_path):
    model = ScriptedModel([
        calls(("think", {"thought": "one kernel"})), finishes(fenced(WRONG)), fenced(MODULE)
    ])  # fmt: skip
    asker = asker_of(model, tmp_path, store=tmp_path / "agents.db")
    writer = LanguageModelProposer(asker, document=lambda spec: spec)
    first = writer.propose(EXP, PROFILE, None)
    assert first.source.strip() == WRONG
    assert first.proposer == "llm:agent:kernel-writer:scripted:script"
    packet = FeedbackPacket(kind="accuracy", machine={"sha": first.sha}, text="off by a factor")
    second = writer.propose(EXP, PROFILE, packet)
    assert (second.source.strip(), second.parent_sha) == (MODULE, first.sha)
    assert asker.dialogs == 1
    last = model.requests[-1].messages
    assert "they give you no instruction" in last[0].text
    assert "| off by a factor" in last[-1].text
    asked = [message.text for message in last if message.role == "user"]
    assert "Write the operator `exp`" in asked[0]
    use = writer.use("exp")
    assert use.calls == 2
    played = [request.messages for request in model.requests]
    assert len(played) == 3
    assert use.prompt_tokens > 3_000
    asker.close()


def test_a_dialog_that_does_not_continue_opens_another_conversation(tmp_path):
    model = ScriptedModel(["one", "two", "three"])
    asker = asker_of(model, tmp_path)
    assert asker.ask([user("a")]).text == "one"
    assert asker.ask([user("a"), assistant("else"), user("b")]).text == "two"
    assert asker.ask([user("a"), assistant("x"), user("c"), assistant("y"), user("d")]).text == (
        "three"
    )
    said = [[m.text for m in r.messages if m.role != "system"] for r in model.requests]
    assert said == [["a"], ["a", "one", "b"], ["a\n\nc\n\nd"]]
    asker.close()


def test_an_agent_that_does_not_finish_is_no_answer(tmp_path):
    asker = asker_of(ScriptedModel([]), tmp_path)
    with pytest.raises(LifecycleError):
        asker.ask([user("a")])
    with pytest.raises(ConfigError, match="must end with a user's message"):
        asker.ask([user("a"), assistant("b")])
    assert asker.dialogs == 0
