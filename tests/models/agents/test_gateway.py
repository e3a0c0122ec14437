"""Agents behind the interface of a model, asked by the client that the world uses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from models.llm import blocking, language_model
from tests.models.agents.serving import KEY, PLAYED, Served, call, script, served

HEADER = "X-Conversation-Id"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("gateway") / "home"
    with served(
        home, "--tool", f"{PLAYED}:ping", "--model", "scripted:*", "--model", "openai/b"
    ) as it:
        yield it


@pytest.fixture
def client(server: Served) -> Iterator[openai.OpenAI]:
    # Its own reading of the environment would send requests through a proxy.
    with httpx.Client(trust_env=False) as http:
        yield openai.OpenAI(
            base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, http_client=http
        )


def say(text: str, *before: tuple[str, str]) -> list[Any]:
    return [{"role": role, "content": said} for role, said in (*before, ("user", text))]


def test_an_agent_answers_with_what_it_ends_with(
    server: Served, client: openai.OpenAI, tmp_path: Path
):
    model = script(tmp_path, [call("terminal", command="echo $((2 + 2))"), "Four."])
    messages = say("2 + 2?", ("system", "Count on your fingers."))
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=messages, temperature=0.5
    )
    name, answer = raw.headers[HEADER], raw.parse()
    assert answer.choices[0].message.content == "Four."
    assert answer.choices[0].finish_reason == "stop"
    log = server.http.get(f"/api/conversations/{name}/events").json()["events"]
    (result,) = [event for event in log if event["kind"] == "result"]
    assert result["body"]["text"].startswith("4\n[exit code 0")
    (system,) = [event for event in log if event["kind"] == "system"]
    assert "Count on your fingers." in json.dumps(system)
    found = server.get(name)
    assert answer.usage.prompt_tokens == found["prompt_tokens"] > 0
    assert answer.usage.completion_tokens == found["completion_tokens"] > 0


def test_a_talk_that_is_repeated_goes_on_in_the_same_conversation(
    server: Served, client: openai.OpenAI, tmp_path: Path
):
    model = script(tmp_path, ["Hello Ada.", "Your name is Ada."])
    create = client.chat.completions.with_raw_response.create
    first = create(model=model, messages=say("I am Ada."))
    said = first.parse().choices[0].message.content
    talk = say("Who am I?", ("user", "I am Ada."), ("assistant", said))
    second = create(model=model, messages=talk)
    assert second.parse().choices[0].message.content == "Your name is Ada."
    assert second.headers[HEADER] == first.headers[HEADER]
    log = server.http.get(f"/api/conversations/{first.headers[HEADER]}/events").json()["events"]
    users = [event["body"]["message"] for event in log if event["kind"] == "user"]
    assert len(users) == 2
    assert second.parse().usage.prompt_tokens < server.get(first.headers[HEADER])["prompt_tokens"]


def test_a_talk_that_began_elsewhere_is_told_as_a_whole(
    server: Served, client: openai.OpenAI, tmp_path: Path
):
    talk = say("And now?", ("user", "I am Bo."), ("assistant", "Hello Bo."))
    raw = client.chat.completions.with_raw_response.create(
        model=script(tmp_path, ["Still Bo."]), messages=talk
    )
    events = server.http.get(f"/api/conversations/{raw.headers[HEADER]}/events").json()["events"]
    (told,) = [json.dumps(event) for event in events if event["kind"] == "user"]
    assert all(part in told for part in ("I am Bo.", "Hello Bo.", "And now?"))


def test_pieces_tell_the_way_as_reasoning_and_the_end_as_content(
    client: openai.OpenAI, tmp_path: Path
):
    model = script(tmp_path, [{"text": "I look.", **call("terminal", command="true")}, "Done."])
    stream = client.chat.completions.create(
        model=model, messages=say("go"), stream=True, stream_options={"include_usage": True}
    )
    pieces = list(stream)
    assert pieces[-1].usage.total_tokens > 0
    choices = [piece.choices[0] for piece in pieces if piece.choices]
    assert choices[-1].finish_reason == "stop"
    thoughts = "".join(getattr(c.delta, "reasoning_content", None) or "" for c in choices)
    assert "I look." in thoughts
    assert "[terminal]" in thoughts
    assert "Done." not in thoughts
    assert "".join(c.delta.content or "" for c in choices) == "Done."


def test_a_call_that_waits_is_said_and_a_named_conversation_goes_on(
    server: Served, client: openai.OpenAI, tmp_path: Path
):
    agent: dict[str, Any] = {"policy": {"kind": "always"}}
    name = server.create(
        [call("ping", n=1), "Pinged."], agent=agent | {"tools": [f"{PLAYED}:ping"]}
    )
    create = client.chat.completions.create
    answer = create(model="any", messages=say("go"), extra_headers={HEADER: name})
    assert f"waits for an approval of ping: see the conversation {name}" in (
        answer.choices[0].message.content
    )
    server.http.post(f"/api/conversations/{name}/approve", json={})
    assert server.rested(name)["final"] == "Pinged."


def test_a_limit_ends_with_length_and_a_failure_with_its_reason(
    server: Served, client: openai.OpenAI, tmp_path: Path
):
    agent = {"budget": {"steps": 1}, "tools": [f"{PLAYED}:ping"]}
    name = server.create([call("ping", n=1), "Never said."], agent=agent)
    create = client.chat.completions.create
    answer = create(model="any", messages=say("go"), extra_headers={HEADER: name})
    assert answer.choices[0].finish_reason == "length"
    with pytest.raises(openai.InternalServerError, match="is error"):
        create(model=script(tmp_path, []), messages=say("go"))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "`tools` goes with a model"),
        ({"n": 2}, "an agent gives one answer"),
        ({"response_format": {"type": "json_object"}}, "an agent answers in text"),
        ({"model": "other/model"}, "model 'other/model' is not allowed here"),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            "must be the user's",
        ),
    ],
)
def test_what_an_agent_does_not_do_is_refused(
    client: openai.OpenAI, more: dict[str, Any], told: str
):
    with pytest.raises(openai.BadRequestError, match=told):
        client.chat.completions.create(**{"model": "openai/b", "messages": say("x"), **more})


def test_models_are_those_that_the_server_was_told_of(client: openai.OpenAI):
    assert [model.id for model in client.models.list()] == ["openai/b"]


def test_a_key_is_needed_and_its_scope_counts(server: Served, tmp_path: Path):
    body = {"model": script(tmp_path, ["x", "Hi."]), "messages": say("x")}
    assert server.stranger.post("/v1/chat/completions", json=body).status_code == 401
    assert server.stranger.get("/v1/models").status_code == 401
    name = server.create(["Yes.", "No."])
    asked = {"scopes": ["write"], "ttl_s": 60, "conversation": name}
    token = server.http.post("/api/tokens", json=asked).json()["token"]
    writer = server.client(token)
    refused = writer.post("/v1/chat/completions", json=body)
    assert refused.status_code == 403
    assert "begins a conversation" in refused.json()["error"]["message"]
    other = writer.post("/v1/chat/completions", json=body, headers={HEADER: server.create(["x"])})
    assert other.status_code == 403
    own = writer.post("/v1/chat/completions", json=body, headers={HEADER: name})
    assert own.json()["choices"][0]["message"]["content"] == "Yes."


def test_our_own_client_of_models_talks_to_an_agent(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LOOM_LLM_KEY_VARIABLES", "127.0.0.1=AGENTS_KEY")
    monkeypatch.setenv("AGENTS_KEY", KEY)
    model = language_model(f"{server.url}/v1#{script(tmp_path, ['From an agent.'])}")
    assert blocking.run(model.generate("hello")).text == "From an agent."
