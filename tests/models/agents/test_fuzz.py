"""Requests that nobody would write, made from the server's own contract."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from models.agents import SqliteStore
from models.agents.server.app import contract_text
from tests.models.agents.serving import KEY, PLAYED, Served, call, served

EXAMPLES = 10
FORESEEN = {502, 503, 507}
"""Above 499 and still no mistake of ours: the model, the sandbox or the disk fails."""

SCHEMA = schemathesis.openapi.from_dict(orjson.loads(contract_text()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("fuzz") / "home"
    with served(home, "--tool", f"{PLAYED}:ping", "--upload-bytes", "65536") as running:
        yield running


@pytest.fixture(scope="module")
def talks(server: Served) -> dict[str, str]:
    """A conversation to work on, and one to be deleted again and again."""
    replies = [call("ping", n=1), *["Yes."] * 400]
    agent = {"policy": {"kind": "always"}, "tools": [f"{PLAYED}:ping"]}
    name = server.create(replies, agent=agent)
    server.say(name)
    server.rested(name)
    return {"kept": name, "gone": server.create(["x"])}


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_meets_something_unforeseen(
    server: Served, talks: dict[str, str], case: schemathesis.Case
):
    if "id" in case.path_parameters:
        deletes = case.method == "DELETE" and case.path.endswith("/{id}")
        case.path_parameters["id"] = talks["gone" if deletes else "kept"]
    if case.path == "/api/conversations/{id}/bash" and isinstance(case.body, dict):
        # Commands may do anything behind their walls, also wait.
        case.body["timeout_s"] = 2
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = case.call(base_url=server.url, headers=headers, timeout=60)
    assert answer.status_code < 500 or answer.status_code in FORESEEN, answer.text
    if answer.status_code >= 400:
        told = answer.json()["error"]
        assert told["type"]
        assert told["message"]
        assert "Traceback" not in answer.text
    else:
        case.validate_response(
            answer, checks=[schemathesis.checks.CHECKS.get_one("response_schema_conformance")]
        )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"text": 1e999}',
        b'{"text": NaN}',
        b"[" * 100_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        json.dumps({"text": "x", "x" * 1000: 1}).encode(),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data", ""])
def test_bodies_that_are_no_json_are_refused_in_words(
    server: Served, talks: dict[str, str], body: bytes, kind: str
):
    place = f"/api/conversations/{talks['kept']}/messages"
    answer = server.http.post(place, content=body, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["message"]


def test_the_conversation_is_whole_after_all_that(server: Served, talks: dict[str, str]):
    place = f"/api/conversations/{talks['kept']}"
    server.http.post(f"{place}/interrupt", json={})
    server.http.post(f"{place}/reject", json={"run": False})
    server.rested(talks["kept"])
    exported = server.http.get(f"{place}/export")
    # As bytes: a text has more ends of lines, which messages may hold.
    events: list[dict[str, Any]] = [json.loads(line) for line in exported.content.splitlines()]
    numbers = [event["seq"] for event in events if "seq" in event]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert server.http.get("/health").json()["status"] == "ok"
    assert SqliteStore(server.home).open(talks["kept"]).verify() is None
