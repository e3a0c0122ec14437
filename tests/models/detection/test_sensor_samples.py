"""Everything that the shipped logs hold is recovered, and nothing is invented."""

from pathlib import Path
from typing import Any

import pytest

from models.detection.sensor import read_log
from models.detection.session import Event, Session
from tests.models.detection.sensor_cases import EXPECTED, log_of

NAMES = sorted(EXPECTED)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Session]:
    folder: Path = tmp_path_factory.mktemp("samples")
    return {name: read_log(log_of(name, folder))[0] for name in NAMES}


def texts(session: Session, kind: str) -> list[str]:
    return [event.text for event in session.events if event.kind == kind]


def found(session: Session, named: str) -> Event:
    """Return the event of an id, or the one that says or does this."""
    if named in session.by_id:
        return session.by_id[named]
    (event,) = [
        e
        for e in session.events
        if e.text == named or (e.call is not None and named in (e.call.arguments or {}).values())
    ]
    return event


@pytest.mark.parametrize("name", NAMES)
def test_every_prompt_thought_and_answer_is_recovered_in_order(name, sessions):
    session, expected = sessions[name], EXPECTED[name]
    assert (session.id, session.agent) == (expected["session"], expected["agent"])
    assert texts(session, "user_message") == expected["prompts"]
    assert texts(session, "reasoning") == expected["reasoning"]
    assert texts(session, "assistant_message") == expected["answers"]


@pytest.mark.parametrize("name", NAMES)
def test_every_call_is_recovered_with_its_server_and_arguments(name, sessions):
    calls = [
        [call.server, call.tool, call.raw if call.arguments is None else call.arguments]
        for _, call in sessions[name].calls()
    ]
    assert calls == EXPECTED[name]["calls"]


@pytest.mark.parametrize("name", NAMES)
def test_every_result_is_recovered_whole_with_how_it_ended(name, sessions):
    session = sessions[name]
    results: list[list[Any]] = []
    for event in session.events:
        if event.kind == "tool_result":
            call = session.by_id[event.responds_to or ""].call
            results.append([call.tool if call else "", event.status, event.text])
    assert results == EXPECTED[name]["results"]


@pytest.mark.parametrize("name", NAMES)
def test_edges_lead_where_the_log_says(name, sessions):
    session, expected = sessions[name], EXPECTED[name]
    for child, parent in expected.get("parents", {}).items():
        before = session.by_id[child].parent
        if parent in ("result", "picture"):
            kind = "tool_result" if parent == "result" else "notice"
            assert before is not None, child
            assert session.by_id[before].kind == kind, child
        else:
            assert before == parent, child
    for child, parent in expected.get("follows", []):
        assert found(session, child).parent == found(session, parent).id


@pytest.mark.parametrize("name", NAMES)
def test_what_was_rewound_is_kept_and_marked(name, sessions):
    session = sessions[name]
    abandoned = {event.id for event in session.events if event.is_abandoned}
    wanted = {found(session, one).id for one in EXPECTED[name]["abandoned"]}
    # A refusal of Cursor has no text of its own to be named by.
    answers = {session.results[id].id for id in wanted if id in session.results}
    assert abandoned == wanted | answers


@pytest.mark.parametrize("name", NAMES)
def test_coverage_and_environment_are_told(name, sessions):
    session, expected = sessions[name], EXPECTED[name]
    coverage = session.coverage
    assert coverage.unknown == expected["unknown"]
    assert len(coverage.quarantined) == expected["quarantined"]
    assert coverage.records == expected["records"]
    assert expected["environment"].items() <= session.environment.items()
    manifests = [[m.server, m.tool, m.description] for m in session.manifests]
    assert manifests == expected.get("manifests", [])


@pytest.mark.parametrize("name", ["claude_code", "gemini"])
def test_a_sub_agent_hangs_on_the_call_that_began_it_and_its_result_on_the_last_word(
    name, sessions
):
    session = sessions[name]
    for actor, tool in EXPECTED[name]["delegated"].items():
        inner = [event for event in session.events if event.actor == actor]
        (began,) = {event.delegated_by for event in inner}
        call = session.by_id[began or ""].call
        assert call is not None
        assert call.tool == tool
        assert session.results[began or ""].derived_from == (inner[-1].id,)


@pytest.mark.parametrize("name", ["claude_code", "openhands", "loom_agents"])
def test_a_summary_names_what_it_stands_for(name, sessions):
    session = sessions[name]
    for told, replaced in EXPECTED[name]["summaries"].items():
        (summary,) = [event for event in session.events if event.kind == "summary"]
        assert summary.text == told
        wanted = {found(session, one).id for one in replaced}
        pictures = {i for i in summary.derived_from if session.by_id[i].text.startswith("image")}
        assert set(summary.derived_from) - pictures == wanted


def test_a_session_of_each_format_survives_as_json(sessions):
    for session in sessions.values():
        assert Session.from_json(session.to_json()) == session
        assert session.coverage.mended.keys() <= {"last line that is not whole yet"}
