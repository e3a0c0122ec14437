import pytest

from models.kernels.session.states import (
    AGAIN,
    TRANSITIONS,
    Event,
    IllegalTransitionError,
    Machine,
    State,
)


def run(*events):
    machine = Machine()
    for event in events:
        machine.on(event)
    return machine.state


def test_a_candidate_that_stands_every_stage_ends_in_success():
    stages = [Event.PASSED] * 4
    assert run(Event.START, Event.WRITTEN, *stages) is State.SUCCESS


@pytest.mark.parametrize("stages", range(4))
def test_a_failure_of_any_stage_leads_to_feedback_and_back_to_the_proposer(stages):
    failed = [Event.START, Event.WRITTEN, *[Event.PASSED] * stages, Event.FAILED]
    assert run(*failed) is State.FEEDBACK
    assert run(*failed, Event.READY) is State.PROPOSE
    assert run(*failed, Event.LONG, Event.READY) is State.PROPOSE
    assert run(*failed, Event.CRASHED, Event.READY) is State.PROPOSE
    assert run(*failed, Event.DIALOG_OVER, Event.READY) is State.PROPOSE
    assert run(*failed, Event.SPENT) is State.EXHAUSTED


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_a_stage_that_is_switched_off_is_passed_over(stages):
    events = [Event.PASSED] * 4
    events[stages] = Event.SKIPPED
    assert run(Event.START, Event.WRITTEN, *events) is State.SUCCESS


def test_the_tests_cannot_be_switched_off():
    with pytest.raises(IllegalTransitionError, match="no transition from test on 'skipped'"):
        run(Event.START, Event.WRITTEN, Event.PASSED, Event.PASSED, Event.SKIPPED)


@pytest.mark.parametrize("state", list(AGAIN))
def test_a_failure_of_our_own_goes_back_to_the_state_it_came_from(state):
    assert TRANSITIONS[state][Event.BROKE] is State.INFRA_ERROR
    assert TRANSITIONS[State.INFRA_ERROR][AGAIN[state]] is state


def test_an_illegal_transition_names_what_is_possible():
    machine = Machine()
    with pytest.raises(IllegalTransitionError, match=r"from init on 'passed'; possible.*: start"):
        machine.on(Event.PASSED)
    assert machine.state is State.INIT


def test_every_state_can_be_reached_and_the_ends_have_no_way_on():
    reached, open_ = {State.INIT}, [State.INIT]
    while open_:
        for after in TRANSITIONS[open_.pop()].values():
            if after not in reached:
                reached.add(after)
                open_.append(after)
    assert reached == set(State)
    assert {state for state in State if not TRANSITIONS[state]} == {State.SUCCESS, State.EXHAUSTED}
