"""Behaviours 44 and 48: what a model is sent, also after branches and condensations."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from models.agents.context.view import View, mismatches
from models.agents.events import (
    Answer,
    Body,
    Condensed,
    Intent,
    Note,
    Notice,
    Result,
    Rewound,
    SystemPrompt,
    UserMessage,
    new_event,
)
from models.agents.store import Log, MemoryStore
from models.llm import ToolCall, assistant, user
from models.llm.messages import Message


def open_log() -> tuple[Log, View, Callable[..., None]]:
    log = MemoryStore().open("talk")
    view = View(log.spans)
    log.listen(lambda events: view.apply(events, log.state))

    def commit(*bodies: Body) -> None:
        log.commit([new_event(body) for body in bodies])

    return log, view, commit


def rebuilt(log: Log) -> View:
    view = View(log.spans)
    view.load(log.state)
    return view


def asks(*call_ids: str) -> list[Body]:
    calls = [ToolCall(call_id, "t") for call_id in call_ids]
    return [Answer(assistant("", *calls)), *(Intent(call.id, "t") for call in calls)]


def texts(view: View) -> list[str]:
    return [
        "+".join(call.id for call in m.tool_calls) or m.tool_call_id or m.text
        for m in view.messages()
    ]


def test_behaviour_44_an_answer_goes_out_whole_with_results_in_call_order():
    _, view, commit = open_log()
    commit(UserMessage(user("hi")), *asks("a", "b", "c"))
    assert texts(view) == ["hi"]
    commit(Result("c", "t"), UserMessage(user("wait")), Result("a", "t"))
    assert texts(view) == ["hi", "wait"]
    commit(Result("b", "t"))
    assert texts(view) == ["hi", "a+b+c", "a", "b", "c", "wait"]


def test_an_answer_that_a_rewind_robbed_of_a_result_is_not_sent():
    log, view, commit = open_log()
    commit(UserMessage(user("hi")), *asks("a", "b"), Result("a", "t"), Result("b", "t"))
    target = log.events()[4]
    log.commit([new_event(Rewound(target.seq), parent=target.id)])
    commit(UserMessage(user("again")))
    assert texts(view) == ["hi", "again"]
    assert texts(view) == texts(rebuilt(log))


def test_a_result_reads_as_an_error_unless_it_is_ok():
    _, view, commit = open_log()
    commit(*asks("a"), Result("a", "t", "no", "rejected"))
    assert view.messages()[-1] == Message(
        "tool", user("no").parts, tool_call_id="a", name="t", is_error=True
    )


def test_a_condensation_hides_the_middle_and_the_next_one_hides_its_summary():
    log, view, commit = open_log()
    commit(SystemPrompt("be good"), *(UserMessage(user(str(n))) for n in range(10)))
    cut = view.cut(keep=2, tail=3)
    assert [message.text for message in cut.hidden] == ["2", "3", "4", "5", "6"]
    commit(Condensed("first", cut.keep_until, cut.tail_from))
    head = ["be good", "0", "1"]
    assert [text[-5:] if text.startswith("Summary") else text for text in texts(view)] == [
        *head,
        "first",
        "7",
        "8",
        "9",
    ]
    commit(*(UserMessage(user(str(n))) for n in range(10, 14)))
    # The summary stands after the beginning, though its event came later than the tail's.
    cut = view.cut(keep=4, tail=2)
    assert [message.text[-5:] for message in cut.hidden] == ["first", *"789", "10", "11"]
    commit(Condensed("other", cut.keep_until, cut.tail_from))
    assert [text[-5:] for text in texts(view)] == ["be good"[-5:], "0", "1", "other", "12", "13"]
    assert len(log.events()) == 17


def test_nothing_is_condensed_where_only_a_summary_lies_between():
    _, view, commit = open_log()
    commit(*(UserMessage(user(str(n))) for n in range(6)))
    cut = view.cut(1, 2)
    commit(Condensed("s", cut.keep_until, cut.tail_from))
    assert view.cut(1, 2) is None
    assert view.cut(1, 9) is None


def test_mismatches_are_found():
    call = assistant("", ToolCall("a", "t"))
    result = Message("tool", tool_call_id="a")
    assert mismatches([call, result, user("x")]) == []
    assert mismatches([call, user("x")]) == ["no result of 'a'"]
    assert mismatches([call]) == ["no result of 'a'"]
    assert mismatches([result]) == ["a result of 'a' where none is due"]
    assert mismatches([call, result, result]) == ["a result of 'a' where none is due"]


MOVES = ["user", "system", "notice", "note", "ask", "result", "rewind", "condense"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 10**6)), max_size=50))
def test_behaviour_48_the_grown_view_equals_one_that_is_built_anew(moves: list[tuple[str, int]]):
    log, view, commit = open_log()
    asked = 0
    for move, number in moves:
        match move:
            case "user":
                commit(UserMessage(user(str(number))))
            case "system":
                commit(SystemPrompt(str(number)))
            case "notice":
                commit(Notice(str(number)), Note("n"))
            case "note":
                commit(Note("n"))
            case "ask":
                count = 1 + number % 3
                commit(*asks(*(f"c{asked + n}" for n in range(count))))
                asked += count
            case "result" if log.state.calls:
                waiting = [*log.state.calls]
                commit(Result(waiting[number % len(waiting)], "t", str(number)))
            case "rewind" if log.state.seq:
                target = log.events()[number % log.state.seq]
                log.commit([new_event(Rewound(target.seq), parent=target.id)])
            case "condense":
                if cut := view.cut(number % 3, (number // 3) % 4):
                    commit(Condensed(str(number), cut.keep_until, cut.tail_from))
        fresh = rebuilt(log)
        assert view.messages() == fresh.messages()
        assert view.tokens == fresh.tokens == sum(m.tokens for m in view.messages())
        assert mismatches(view.messages()) == []
