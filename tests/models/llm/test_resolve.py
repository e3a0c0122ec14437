import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ConfigError, UnknownNameError
from models.llm import (
    Budget,
    HttpModel,
    LanguageModel,
    LiteLlmModel,
    Meter,
    Request,
    ScriptedModel,
    TextTools,
    language_model,
    user,
)
from models.llm import errors as e
from models.llm.guard import is_loopback
from models.settings import ROOT, get_settings


def engine_model(name: str) -> LanguageModel:
    return ScriptedModel([f"I am {name}"])


def no_model(name: str) -> str:
    return name


def test_addresses_become_models(tmp_path: Path):
    assert isinstance(language_model("http://127.0.0.1:8000/v1#m"), HttpModel)
    assert language_model("https://host.example/v1#a/b").name == "a/b@host.example"
    for address in ("litellm:openai/gpt-4o", "openai/gpt-4o"):
        model = language_model(address)
        assert isinstance(model, LiteLlmModel)
        assert model.name == "openai/gpt-4o"
        assert model.capabilities.tools
    script = tmp_path / "s.yaml"
    script.write_text("[hello]")
    assert isinstance(language_model(f"text:scripted:{script}"), TextTools)


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        ("http://host/v1", e.ModelNotFoundError, "write http://host/v1#MODEL"),
        ("scriptd:x", UnknownNameError, "did you mean 'scripted:FILE'"),
        ("gpt", e.ModelNotFoundError, "known: scripted:FILE"),
        ("", e.ModelNotFoundError, "known:"),
        ("opnai/gpt-5", e.ModelNotFoundError, "did you mean 'openai'"),
        ("scripted:", e.ModelNotFoundError, "names no model"),
        ("local:", e.ModelNotFoundError, "names no model"),
    ],
)
def test_what_is_no_address_says_which_there_are(address, kind, words):
    with pytest.raises(kind, match=words):
        language_model(address)


def test_a_router_comes_from_a_file_and_shares_its_models(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("[one, two]")
    file = tmp_path / "r.yaml"
    file.write_text(f"judge: [scripted:{tmp_path}/s.yaml]\n'': [scripted:{tmp_path}/s.yaml]\n")
    model = language_model(f"router:{file}")
    assert model.blocking.generate(Request((user("x"),), purpose="judge")).text == "one"
    assert model.blocking.generate("x").text == "two"
    for wrong in ("[a]", "judge: a", "judge: []", "judge: [[a]]", "a: [", "5"):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match="router file"):
            language_model(f"router:{file}")
    with pytest.raises(ConfigError, match="router file"):
        language_model(f"router:{tmp_path}/gone.yaml")


def test_a_budget_and_a_meter_go_around_any_model(tmp_path: Path):
    script = tmp_path / "s.yaml"
    script.write_text("[one, two]")
    meter = Meter()
    model = language_model(f"scripted:{script}", budget=Budget(calls=1), meter=meter)
    assert model.blocking.generate("x").text == "one"
    with pytest.raises(e.BudgetExceededError):
        model.blocking.generate("x")
    assert (meter.total().calls, meter.total().errors) == (2, 1)


def test_the_local_engine_comes_by_a_dotted_name(monkeypatch: pytest.MonkeyPatch):
    def set_factory(dotted: str) -> None:
        monkeypatch.setenv("LOOM_LLM_LOCAL", dotted)
        get_settings.cache_clear()

    monkeypatch.setitem(sys.modules, "played_engine", sys.modules[__name__])
    set_factory("played_engine:engine_model")
    assert language_model("local:small").blocking.generate("x").text == "I am small"
    set_factory("played_engine:no_model")
    with pytest.raises(ConfigError, match="made a str"):
        language_model("local:small")
    for wrong in ("played_engine:gone", "models.nowhere:f", "nonsense", ":"):
        set_factory(wrong)
        with pytest.raises(ConfigError, match="LOOM_LLM_LOCAL"):
            language_model("local:small")


def test_recording_is_for_cassettes_only(tmp_path: Path):
    with pytest.raises(ConfigError, match="only a cassette records"):
        language_model("openai/gpt-4o", record="openai/gpt-4o")
    script = tmp_path / "s.yaml"
    script.write_text("[one]")
    tape = f"cassette:{tmp_path}/t.jsonl"
    assert language_model(tape, record=f"scripted:{script}").blocking.generate("x").text == "one"
    assert language_model(tape).blocking.generate("x").text == "one"


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("http://127.0.0.1:80/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:80", True),
        ("http://localhost/v1", True),
        ("http://10.0.0.1/v1", False),
        ("http://localhost.evil.example/v1", False),
        ("http://127.0.0.1@evil.example/v1", False),
        ("http://evil.example/127.0.0.1", False),
        ("nonsense", False),
    ],
)
def test_loopback_is_told_by_the_literal_host(url, is_ours):
    assert is_loopback(url) is is_ours


@pytest.mark.parametrize(
    "address", ["http://192.0.2.1:9/v1#m", "https://api.openai.com/v1#gpt", "openai/gpt-4o"]
)
def test_no_live_call_leaves_a_test(address):
    model = language_model(address)
    with pytest.raises(e.LiveCallError, match="LOOM_LLM_LIVE"):
        model.blocking.generate("x")
    with pytest.raises(e.LiveCallError):
        list(model.blocking.stream("x"))


def test_no_further_argument_leads_a_call_away():
    model = LiteLlmModel(
        "openai/m", api_base="http://127.0.0.1:1", extra={"base_url": "https://api.openai.com"}
    )
    with pytest.raises(e.LiveCallError):
        model.blocking.generate("x")


def test_a_proxy_of_the_environment_carries_nothing_meant_for_this_machine(
    server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert language_model(f"{server.url}#m").blocking.generate("x").text == "hello"


def test_live_calls_are_on_unless_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOOM_LLM_LIVE")
    get_settings.cache_clear()
    assert get_settings().llm_live


def test_making_models_loads_no_provider():
    code = (
        "import sys; from models.llm import language_model as m; "
        "m('openai/gpt-4o'); m('http://127.0.0.1:1/v1#m'); "
        "print('litellm' in sys.modules, 'httpx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
