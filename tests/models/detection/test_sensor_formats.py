"""What single formats do beyond the shipped logs: branches, rings, other layouts, broken files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.detection.sensor import read_log
from models.detection.sensor.claude_code import ClaudeCode
from models.detection.sensor.cline_xml import pieces
from models.detection.session import Session
from models.errors import DataError, UnknownNameError
from tests.models.detection.sensor_cases import LOGS


def write(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def claude(uuid: str, parent: str | None, role: str, said: Any, **more: Any) -> dict[str, Any]:
    return {
        "type": role, "uuid": uuid, "parentUuid": parent, "sessionId": "s",
        "message": {"role": role, "id": f"m-{uuid}", "content": said}, **more,
    }  # fmt: skip


def abandoned(session: Session) -> set[str]:
    return {event.id for event in session.events if event.is_abandoned}


def use(id: str, name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def answer(id: str, told: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": told}


# ---- Claude Code


def test_a_ring_of_parents_is_cut_and_everything_is_there(tmp_path):
    path = write(
        tmp_path / "s.jsonl",
        claude("a", "c", "user", "one"), claude("b", "a", "user", "two"),
        claude("c", "b", "user", "three"), claude("d", "d", "user", "four"),
    )  # fmt: skip
    (session,) = read_log(path)
    assert {event.id for event in session.events} == {"a", "b", "c", "d"}


def test_records_out_of_order_are_put_behind_what_they_follow_on(tmp_path):
    path = write(
        tmp_path / "s.jsonl",
        claude("b", "a", "assistant", "answer"), claude("a", None, "user", "question"),
    )  # fmt: skip
    (session,) = read_log(path)
    assert [event.id for event in session.events] == ["a", "b"]
    assert session.by_id["b"].parent == "a"


def test_of_calls_side_by_side_none_is_a_rewind_but_a_second_prompt_is(tmp_path):
    both = {"role": "assistant", "id": "m1"}
    path = write(
        tmp_path / "s.jsonl",
        claude("p", None, "user", "look at both"),
        claude("c1", "p", "assistant", []) | {"message": both | {"content": [use("t1", "Read")]}},
        claude("c2", "c1", "assistant", []) | {"message": both | {"content": [use("t2", "Read")]}},
        claude("r1", "c1", "user", [answer("t1", "one")]),
        claude("r2", "c2", "user", [answer("t2", "two")]),
        claude("x", "r2", "assistant", "both are fine"),
        claude("y", "x", "user", "delete both"),
        claude("z", "y", "assistant", [use("t3", "Bash", command="rm")]),
        claude("w", "z", "user", [answer("t3", "gone")]),
        claude("n", "x", "user", "keep both"),
    )
    (session,) = read_log(path)
    assert abandoned(session) == {"y", "z", "w"}
    assert session.coverage.missing_results == 0


def test_the_first_prompt_can_be_rewound_too(tmp_path):
    path = write(
        tmp_path / "s.jsonl",
        claude("a", None, "user", "one"), claude("b", "a", "assistant", "yes"),
        claude("c", None, "user", "two"), claude("d", "c", "assistant", "yes"),
    )  # fmt: skip
    assert abandoned(read_log(path)[0]) == {"a", "b"}


def test_a_copy_of_a_record_is_told_and_not_doubled(tmp_path):
    record = claude("a", None, "user", "one")
    (session,) = read_log(write(tmp_path / "s.jsonl", record, record))
    assert [event.text for event in session.events] == ["one"]
    assert session.coverage.mended == {"record that came twice": 1}


def test_two_records_of_one_id_are_both_kept(tmp_path):
    path = write(
        tmp_path / "s.jsonl", claude("a", None, "user", "one"), claude("a", None, "user", "two")
    )
    assert {event.text for event in read_log(path)[0].events} == {"one", "two"}


def test_sessions_that_share_a_file_come_apart_and_take_no_others_name(tmp_path):
    path = write(
        tmp_path / "s.jsonl",
        claude("a", None, "user", "other", sessionId="t"),
        claude("b", None, "user", "own"),
        claude("c", "b", "assistant", "yes", sessionId="t"),
    )
    own, other = read_log(path)
    assert (own.id, [event.text for event in own.events]) == ("s", ["own", "yes"])
    assert (other.id, [event.text for event in other.events]) == ("t@s", ["other"])


def test_an_older_sidechain_is_a_sub_agent_of_the_call_with_its_prompt(tmp_path):
    path = write(
        tmp_path / "s.jsonl",
        claude("a", None, "user", "find it"),
        claude("b", "a", "assistant", [use("t", "Task", prompt="look around")]),
        claude("x", None, "user", "look around", isSidechain=True),
        claude("y", "x", "assistant", "found", isSidechain=True),
        claude("c", "b", "user", [answer("t", "found")]),
        claude("d", "c", "assistant", "it is found"),
    )
    (session,) = read_log(path)
    assert session.by_id["y"].actor == session.by_id["x"].actor != ""
    assert session.by_id["y"].delegated_by == "b"
    assert session.by_id["c"].derived_from == ("y",)
    assert abandoned(session) == set()


def test_sub_agents_beside_their_session_belong_to_it_and_to_no_other(tmp_path):
    project = tmp_path / ".claude" / "projects" / "-p"
    for name in ("s", "t"):
        write(project / f"{name}.jsonl", claude("a", None, "user", "go", sessionId=name))
    inner = claude("x", None, "user", "inner", sessionId="t", isSidechain=True, agentId="k")
    write(project / "agent-k.jsonl", inner)
    sources = {source.path.stem: source for source in ClaudeCode().sources(tmp_path)}
    assert [file.name for file in sources["s"].files] == ["s.jsonl"]
    assert [file.name for file in sources["t"].files] == ["t.jsonl", "agent-k.jsonl"]
    assert [s.id for s in ClaudeCode().read(sources["t"])] == ["t"]


def test_a_sub_agent_whose_session_was_removed_is_read_alone(tmp_path):
    inner = claude("x", None, "user", "inner", isSidechain=True, agentId="k")
    path = write(tmp_path / ".claude/projects/-p/s/subagents/agent-k.jsonl", inner)
    (source,) = ClaudeCode().sources(tmp_path)
    assert source.path == path
    (session,) = ClaudeCode().read(source)
    assert (session.id, session.events[0].actor) == ("agent-k", "k")


def test_two_hundred_sub_agents_in_each_other_are_read(tmp_path):
    records = [claude("a0", None, "user", "0")]
    for n in range(200):
        side = {"isSidechain": True, "agentId": f"k{n}"} if n else {}
        inner = {"isSidechain": True, "agentId": f"k{n + 1}"}
        asked = [use(f"t{n}", "Task", prompt=f"{n + 1}")]
        records.append(claude(f"b{n}", f"a{n}", "assistant", asked, **side))
        records.append(claude(f"a{n + 1}", None, "user", f"{n + 1}", **inner))
    (session,) = read_log(write(tmp_path / "s.jsonl", *records))
    assert len(session.events) == 401
    assert session.by_id["a200"].delegated_by is not None


def test_hook_output_and_commands_are_the_programs_and_not_the_users(tmp_path):
    path = write(
        tmp_path / "s.jsonl",
        claude("a", None, "user", "<local-command-stdout>on main</local-command-stdout>"),
        claude("b", "a", "user", "remember the milk", isMeta=True),
        claude("c", "b", "user", "a real question"),
    )
    kinds = [event.kind for event in read_log(path)[0].events]
    assert kinds == ["notice", "notice", "user_message"]


# ---- others


def test_codex_says_what_only_its_events_say(tmp_path):
    def line(kind: str, **payload: Any) -> dict[str, Any]:
        return {"timestamp": "2026-01-01T00:00:00Z", "type": kind, "payload": payload}

    path = write(
        tmp_path / "r.jsonl",
        line("session_meta", id="i"),
        line("event_msg", type="user_message", message="go"),
        line("event_msg", type="user_message", message="go"),
        line("response_item", type="message", role="user", content=[{"text": "go"}]),
        line(
            "event_msg", type="exec_command_end", call_id="c", command=["ls"], exit_code=2,
            aggregated_output="no such file",
        ),
    )  # fmt: skip
    (session,) = read_log(path)
    # Said twice to the user's eyes, once to the model: one of the two is another message.
    assert [e.text for e in session.events if e.kind == "user_message"] == ["go", "go"]
    ((_, call),) = session.calls()
    assert call.arguments == {"command": ["ls"], "workdir": None}
    (result,) = session.results.values()
    assert (result.status, result.text) == ("error", "no such file")


def test_what_a_summary_of_gemini_replaces_is_kept_and_named(tmp_path):
    path = write(
        tmp_path / "session-x.jsonl",
        {"sessionId": "i", "projectHash": "h"},
        {"id": "1", "type": "user", "content": "one"},
        {"id": "2", "type": "gemini", "content": "two"},
        {"id": "3", "type": "user", "content": "three"},
        {
            "$set": {
                "messages": [
                    {"id": "n", "type": "user", "content": "<state_snapshot>one, two"},
                    {"id": "3", "type": "user", "content": "three"},
                ]
            }
        },
        {"id": "4", "type": "gemini", "content": "four"},
    )
    (session,) = read_log(path)
    assert [e.text for e in session.events if not e.is_abandoned] == [
        "one", "two", "three", "<state_snapshot>one, two", "four",
    ]  # fmt: skip
    assert session.by_id["n"].kind == "summary"
    assert session.by_id["n"].derived_from == ("1", "2")


def test_a_rewind_of_gemini_to_nowhere_takes_back_everything(tmp_path):
    path = write(
        tmp_path / "session-x.jsonl",
        {"sessionId": "i", "projectHash": "h"},
        {"id": "1", "type": "user", "content": "one"},
        {"$rewindTo": "nowhere"},
        {"id": "1", "type": "user", "content": "again"},
    )
    (session,) = read_log(path)
    assert [(e.text, e.is_abandoned) for e in session.events] == [("one", True), ("again", False)]


def test_a_history_of_cline_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    task = tmp_path / "1772700000000"
    shutil.copytree(LOGS / "cline" / "1772700000000", task)
    history = task / "api_conversation_history.json"
    whole = history.read_text()
    history.write_text(whole[: whole.index("[read_file for")])
    (session,) = read_log(task)
    assert [call.tool for _, call in session.calls()] == ["get_issue", "read_file"]
    assert len(session.coverage.quarantined) == 1


def test_without_its_history_a_task_of_cline_is_what_the_user_saw(tmp_path):
    task = tmp_path / "1772700000000"
    shutil.copytree(LOGS / "cline" / "1772700000000", task)
    (task / "api_conversation_history.json").write_text("not json")
    (session,) = read_log(task)
    calls = [(call.server, call.tool, call.arguments) for _, call in session.calls()]
    assert calls[0] == ("github", "get_issue", {"owner": "shop", "number": 41})
    assert calls[1][1] == "readFile"
    assert session.events[0].text == "Fix issue 41 of the web shop."
    assert "ignore previous instructions" in session.results[session.events[2].id].text


def test_a_text_full_of_open_tags_is_taken_apart_in_linear_time():
    assert [p.tool for p in pieces("<read_file>" * 50_000)] == [""]
    told = "<use_mcp_tool>" + "".join(f"<t{n}>" for n in range(50_000)) + "</use_mcp_tool>"
    (piece,) = pieces(told)
    assert (piece.tool, piece.arguments) == ("use_mcp_tool", {})


def test_a_damaged_event_of_openhands_costs_that_event(tmp_path):
    shutil.copytree(LOGS / "openhands", tmp_path / "c")
    (tmp_path / "c/events/event-00003-ev3.json").write_bytes(b'{"id": "ev3", "ki')
    (session,) = read_log(tmp_path / "c")
    assert session.coverage.missing_results == 1
    assert [bad.place for bad in session.coverage.quarantined] == ["event-00003-ev3.json#0"]
    assert len(session.events) == 16


def test_a_changed_line_of_our_own_export_is_told(tmp_path):
    path = tmp_path / "c.jsonl"
    whole = (LOGS / "loom_agents.jsonl").read_text()
    path.write_text(whole.replace("Then delete line 3.", "Then delete line 4."))
    (session,) = read_log(path)
    assert session.coverage.mended == {"record that is not as it was written": 1}
    assert session.by_id["0012"].text == "Then delete line 4."


def test_a_stream_of_mcp_without_times_is_read_too(tmp_path):
    path = write(
        tmp_path / "m.jsonl",
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}},
        {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "y"}]}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
    )
    (session,) = read_log(path)
    ((event, call),) = session.calls()
    assert (call.tool, session.results[event.id].text) == ("x", "y")
    assert session.coverage.mended == {"answer to no request": 1}


def test_what_is_no_log_is_a_clear_error(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("milk\n")
    with pytest.raises(DataError, match="none of the formats claude-code, codex, cursor, cline"):
        read_log(path)
    with pytest.raises(DataError, match="no log of codex"):
        read_log(path, "codex")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_log(tmp_path / "nothing")
    with pytest.raises(UnknownNameError, match="did you mean 'claude-code'"):
        read_log(path, "claude")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="name the file or folder of one session"):
        read_log(tmp_path / "empty.jsonl")
