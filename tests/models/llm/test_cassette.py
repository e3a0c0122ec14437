import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from models.llm import (
    CassetteModel,
    HttpModel,
    Options,
    ScriptedModel,
    ToolCall,
    Turn,
    language_model,
)
from models.llm import errors as e
from models.llm.blocking import run
from models.llm.cassette import redacted
from models.llm.request import as_request
from models.llm.retry import NO_RETRY
from models.llm.secrets import ApiKey, key_for, redact
from models.settings import get_settings


def record(file: Path, *lines, prompts=("a",)) -> None:
    model = CassetteModel(file, ScriptedModel(list(lines)), mode="record")
    for prompt in prompts:
        try:
            model.blocking.generate(prompt)
        except e.LanguageModelError:
            continue


def test_what_was_recorded_is_played_without_the_model(tmp_path: Path):
    file = tmp_path / "talk.jsonl"
    record(
        file,
        Turn("hé", (ToolCall("1", "f", "{}"),), reasoning="hm"),
        e.RateLimitError("slow", status=429, retry_after_s=2.0),
        prompts=("a", "b"),
    )
    model = language_model(f"cassette:{file}")
    reply = model.blocking.generate("a")
    assert (reply.text, reply.tool_calls[0].name, reply.message.reasoning) == ("hé", "f", "hm")
    assert reply.source == "replayed"
    with pytest.raises(e.RateLimitError, match="slow") as caught:
        model.blocking.generate("b")
    assert (caught.value.status, caught.value.retry_after_s) == (429, 2.0)


def test_streams_are_recorded_and_played(tmp_path: Path, server):
    file = tmp_path / "talk.jsonl"
    server.play(server.streams("one ", "two"), server.streams("half", end=b"", cut=True))
    live = CassetteModel(file, HttpModel(server.url, "m", retry=NO_RETRY), mode="auto")
    assert [c.text for c in live.blocking.stream("a")] == ["one ", "two", ""]
    with pytest.raises(e.StreamCutError):
        list(live.blocking.stream("b"))
    server.close()
    model = CassetteModel(file)
    assert list(model.blocking.stream("a"))[-1].reply.text == "one two"
    with pytest.raises(e.StreamCutError) as caught:
        list(model.blocking.stream("b"))
    assert caught.value.text == "half"


def test_the_same_request_plays_its_recordings_one_by_one(tmp_path: Path):
    file = tmp_path / "talk.jsonl"
    record(file, "first", "second", prompts=("a", "a"))
    model = CassetteModel(file)
    assert [model.blocking.generate("a").text for _ in range(2)] == ["first", "second"]
    with pytest.raises(e.CassetteError, match="all played"):
        model.blocking.generate("a")


def test_a_missing_recording_says_what_differs_and_how_to_record(tmp_path: Path):
    file = tmp_path / "talk.jsonl"
    record(file, "x", prompts=("what is a loom",))
    model = CassetteModel(file)
    with pytest.raises(e.CassetteError, match="'what is a loom' there, 'what is a boat' here"):
        model.blocking.generate("what is a boat")
    with pytest.raises(e.CassetteError, match=r"'temperature': 0\.5") as caught:
        model.blocking.generate("what is a loom", Options(temperature=0.5))
    assert f"language_model('cassette:{file}', record=" in str(caught.value)
    with pytest.raises(e.CassetteError, match="does not exist"):
        CassetteModel(tmp_path / "none.jsonl")


def test_auto_records_only_what_is_missing(tmp_path: Path):
    file = tmp_path / "talk.jsonl"
    record(file, "old")
    inner = ScriptedModel(["new"])
    model = CassetteModel(file, inner, mode="auto")
    assert [model.blocking.generate(prompt).text for prompt in ("a", "b")] == ["old", "new"]
    assert len(inner.requests) == 1
    assert CassetteModel(file).blocking.generate("b").text == "new"


def test_strict_order_is_kept(tmp_path: Path):
    file = tmp_path / "talk.jsonl"
    record(file, "1", "2", prompts=("a", "b"))
    with pytest.raises(e.CassetteError, match="call 1 of the recording is another request"):
        CassetteModel(file, strict=True).blocking.generate("b")
    assert CassetteModel(file).blocking.generate("b").text == "2"
    model = CassetteModel(file, strict=True)
    assert [model.blocking.generate(prompt).text for prompt in "ab"] == ["1", "2"]


@pytest.mark.parametrize(
    "line",
    ["{", "5", '{"v": 1}', '{"v": 9, "digest": "d", "reply": {}}', '{"v": 1, "digest": "d"}'],
)
def test_a_line_that_is_no_recording_is_named(tmp_path: Path, line: str):
    file = tmp_path / "talk.jsonl"
    record(file, "x")
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(e.CassetteError, match="line 2"):
        CassetteModel(file)


def test_no_secret_reaches_the_file_and_other_keys_still_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "talk.jsonl"
    monkeypatch.setenv("SERVICE_API_KEY", "hunter2-hunter2")
    prompt = 'use hunter2-hunter2 and sk-abcdefghijklmnopqrstuvwx, "Bearer abcdefghijklmnop123"'
    inner = ScriptedModel(["the key is hunter2-hunter2"])
    CassetteModel(file, inner, mode="record").blocking.generate(prompt)
    assert "hunter2-hunter2" in inner.requests[0].messages[0].text  # the model still sees it
    kept = file.read_text()
    for secret in ("hunter2", "sk-abc", "abcdefghijklmnop123"):
        assert secret not in kept
    monkeypatch.setenv("SERVICE_API_KEY", "another-value")
    other = prompt.replace("hunter2-hunter2", "another-value")
    assert CassetteModel(file).blocking.generate(other).text == "the key is [secret]"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_redaction_keeps_what_is_no_secret_and_is_stable(text):
    request = as_request(text)
    once = redacted(request)
    assert redacted(once).digest == once.digest
    if redact(text) == text:
        assert once is request


@pytest.mark.parametrize(
    "secret",
    [
        "ghp_" + "a1" * 12,
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijkl",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_secrets_are_known_by_their_shape(secret):
    assert redact(f"a {secret} b") == "a [secret] b"


def test_short_values_and_other_variables_are_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_TOKEN", "true")
    monkeypatch.setenv("MAX_TOKENS_KEPT", "a-long-plain-value")
    assert redact("true a-long-plain-value") == "true a-long-plain-value"


def test_a_key_belongs_to_its_host(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOOM_LLM_KEY_VARIABLES", "llm.example.com=MY_KEY, 127.0.0.1:8000=OTHER")
    monkeypatch.setenv("MY_KEY", "abcdefgh-1")
    get_settings.cache_clear()
    assert key_for("https://llm.example.com/v1").reveal() == "abcdefgh-1"
    assert key_for("https://evil.example.com/v1") is None
    assert key_for("http://127.0.0.1:9000/v1") is None
    with pytest.raises(ConfigError, match="variable OTHER"):
        key_for("http://127.0.0.1:8000/v1")


def test_a_key_in_the_setting_itself_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("LOOM_LLM_KEY_VARIABLES", "host=sk-abcdefghijklmnopqrst")
    get_settings.cache_clear()
    with pytest.raises(ConfigError, match="never the key itself") as caught:
        key_for("http://host/v1")
    assert "abcdefghij" not in str(caught.value)


def test_keys_do_not_cross_processes():
    import pickle

    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ApiKey("secret-value"))


def test_recording_needs_a_model_and_a_place(tmp_path: Path):
    with pytest.raises(e.CassetteError, match="needs a model"):
        CassetteModel(tmp_path / "x.jsonl", mode="record")
    model = CassetteModel(tmp_path / "no" / "x.jsonl", ScriptedModel(["a"]), mode="record")
    with pytest.raises(e.CassetteError, match="cannot be written"):
        model.blocking.generate("x")


def test_two_recorders_keep_their_lines_whole(tmp_path: Path):
    file = tmp_path / "talk.jsonl"
    long = "x" * 20_000
    models = [
        CassetteModel(file, ScriptedModel([], otherwise=f"{i}{long}"), mode="record")
        for i in range(2)
    ]

    async def both() -> None:
        import asyncio

        await asyncio.gather(*(m.batch([f"{n}" for n in range(20)]) for m in models))

    run(both())
    lines = file.read_text().splitlines()
    assert len(lines) == 40
    assert all(json.loads(line)["v"] == 1 for line in lines)
    assert os.path.getsize(file) > 800_000
