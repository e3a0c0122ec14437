"""Conversations with their specs in one folder."""

import errno
from pathlib import Path

import pytest

from models.agents.errors import LogError, NoConversationError
from models.agents.events import Started, new_event
from models.agents.home import AgentHome
from models.agents.spec import AgentSpec
from models.agents.work_config import WorkConfig
from models.config import load_config
from models.errors import ConfigError, StorageFullError
from models.llm import blocking
from tests.models.agents.serving import script


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return AgentHome(tmp_path / "home")


def test_a_conversation_opens_again_from_what_was_kept(home: AgentHome, tmp_path: Path):
    spec = AgentSpec(model=script(tmp_path, ["Hello.", "Again."]), budget={"steps": 9})
    kept = home.keep("a", spec)
    assert kept.workspace == str(home.folder / "workspaces" / "a")
    talk = home.open("a")
    assert talk.blocking.send("hi").text == "Hello."
    talk.blocking.close()
    again = AgentHome(home.folder).open("a")
    assert again.state.title == "hi"
    assert again.agent.budget.steps == 9
    again.blocking.close()


def test_deleting_takes_delegated_ones_along_and_no_namesake(home: AgentHome):
    for name, parent in (("v1", ""), ("v1.c-0", "v1"), ("v1.c-0.d-0", "v1.c-0"), ("v1.2", "")):
        log = home.store.open(name)
        log.commit([new_event(Started(parent_conversation=parent))])
        log.close()
    home.delete("v1")
    assert [row.id for row in home.store.list()] == ["v1.2"]
    with pytest.raises(NoConversationError, match="no conversation 'v1'"):
        home.delete("v1")


def test_a_full_disk_names_the_folder_and_leaves_the_spec_that_was_there(
    home: AgentHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spec = AgentSpec(model=script(tmp_path, ["Hello."]), budget={"steps": 9})
    home.keep("a", spec)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageFullError, match=f"no space left in {home.folder}"):
        home.keep("a", AgentSpec(model=spec.model))
    monkeypatch.undo()
    assert AgentHome(home.folder).spec("a").budget.steps == 9
    assert [file.name for file in home.folder.iterdir() if file.is_file()] == ["a.agent.json"]


def test_what_cannot_be_opened_says_why(home: AgentHome):
    with pytest.raises(NoConversationError, match="no conversation 'x'"):
        home.open("x")
    home.store.open("x").close()
    with pytest.raises(ConfigError, match="kept no agent for it"):
        home.open("x")
    (home.folder / "x.agent.json").write_text("{}")
    with pytest.raises(LogError, match="the agent of 'x' cannot be read"):
        home.open("x")
    for bad in ({"model": "nowhere"}, {"model": "a/b", "tools": ["nothing"]}):
        with pytest.raises(ConfigError):
            home.keep("y", AgentSpec(**bad))
    assert home.spec("y") is None


def test_an_analyzer_is_named_by_its_place(home: AgentHome):
    good = AgentSpec(model="a/b", analyzer="tests.models.agents.test_home:Low").build()
    assert good.analyzer.rate(None, ()).level == "low"
    with pytest.raises(ConfigError, match="name it as module:attribute"):
        AgentSpec(model="a/b", analyzer="nowhere:Low").build()


class Low:
    """Finds nothing dangerous."""

    def rate(self, call: object, history: object) -> object:
        from models.agents import Risk

        return Risk("low")


def test_a_log_begins_once(home: AgentHome, tmp_path: Path):
    home.keep("b", AgentSpec(model=script(tmp_path, ["Hello."])))
    talk = home.open("b")
    blocking.run(talk.begin())
    blocking.run(talk.begin())
    assert [event.kind for event in talk.events()] == ["started", "system"]
    talk.blocking.close()


def test_an_agent_of_a_batch_has_the_model_that_is_named_beside_it(tmp_path: Path):
    file = tmp_path / "work.yaml"
    file.write_text("agent: {policy: {kind: always}}\n")
    given = ["prompt=hello", "model=a/b"]
    spec = load_config(WorkConfig, file, given).spec
    assert (spec.model, spec.policy.kind) == ("a/b", "always")
    assert load_config(WorkConfig, file, [*given, "agent.model=c/d"]).agent.model == "c/d"
    assert load_config(WorkConfig, None, [*given, "agent.policy.kind=never"]).spec.model == "a/b"
    with pytest.raises(ConfigError, match=r"'agent\.model': field required"):
        load_config(WorkConfig, file, given[:1])
