"""The states of a session, and which event leads from one to another: data, not code."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from models.errors import ConfigError


class State(StrEnum):
    """Where a session is; after section 3 of the paper (arXiv 2512.10977)."""

    INIT = "init"
    PROPOSE = "propose"
    LINT = "lint"
    COMPILE = "compile"
    TEST = "test"
    AUDIT = "audit"
    FEEDBACK = "feedback"
    SUMMARIZE = "summarize"
    DEBUG = "debug"
    NEW_DIALOG = "new_dialog"
    SUCCESS = "success"
    EXHAUSTED = "exhausted"
    INFRA_ERROR = "infra_error"


class Event(StrEnum):
    """What happened in a state."""

    START = "start"
    WRITTEN = "written"
    """A candidate came."""
    REPEATED = "repeated"
    """A candidate came that was refused before."""
    NOTHING_LEFT = "nothing_left"
    """The proposer has no other candidate."""
    DIALOG_OVER = "dialog_over"
    """The dialog is full or has had its calls, and another one is allowed."""
    SPENT = "spent"
    """The last dialog is over."""
    PASSED = "passed"
    SKIPPED = "skipped"
    """The state is switched off."""
    FAILED = "failed"
    LONG = "long"
    """The packet's text exceeds the limit."""
    CRASHED = "crashed"
    """A signal, or an access that the sanitizer refused."""
    READY = "ready"
    BROKE = "broke"
    """Our own machinery failed."""
    AGAIN_PROPOSE = "again_propose"
    AGAIN_LINT = "again_lint"
    AGAIN_COMPILE = "again_compile"
    AGAIN_TEST = "again_test"
    AGAIN_AUDIT = "again_audit"
    AGAIN_SUMMARIZE = "again_summarize"


AGAIN: Mapping[State, Event] = MappingProxyType({
    State.PROPOSE: Event.AGAIN_PROPOSE,
    State.LINT: Event.AGAIN_LINT,
    State.COMPILE: Event.AGAIN_COMPILE,
    State.TEST: Event.AGAIN_TEST,
    State.AUDIT: Event.AGAIN_AUDIT,
    State.SUMMARIZE: Event.AGAIN_SUMMARIZE,
})  # fmt: skip
"""States that call machinery which may fail, and the event that repeats each."""

TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType({
    State.INIT: {Event.START: State.PROPOSE},
    State.PROPOSE: {
        Event.WRITTEN: State.LINT,
        Event.REPEATED: State.FEEDBACK,
        Event.NOTHING_LEFT: State.EXHAUSTED,
        Event.DIALOG_OVER: State.NEW_DIALOG,
        Event.SPENT: State.EXHAUSTED,
        Event.BROKE: State.INFRA_ERROR,
    },
    State.LINT: {
        Event.PASSED: State.COMPILE,
        Event.SKIPPED: State.COMPILE,
        Event.FAILED: State.FEEDBACK,
        Event.BROKE: State.INFRA_ERROR,
    },
    State.COMPILE: {
        Event.PASSED: State.TEST,
        Event.SKIPPED: State.TEST,
        Event.FAILED: State.FEEDBACK,
        Event.BROKE: State.INFRA_ERROR,
    },
    State.TEST: {
        Event.PASSED: State.AUDIT,
        Event.FAILED: State.FEEDBACK,
        Event.BROKE: State.INFRA_ERROR,
    },
    State.AUDIT: {
        Event.PASSED: State.SUCCESS,
        Event.SKIPPED: State.SUCCESS,
        Event.FAILED: State.FEEDBACK,
        Event.BROKE: State.INFRA_ERROR,
    },
    State.FEEDBACK: {
        Event.READY: State.PROPOSE,
        Event.LONG: State.SUMMARIZE,
        Event.CRASHED: State.DEBUG,
        Event.DIALOG_OVER: State.NEW_DIALOG,
        Event.SPENT: State.EXHAUSTED,
    },
    State.SUMMARIZE: {Event.READY: State.PROPOSE, Event.BROKE: State.INFRA_ERROR},
    State.DEBUG: {Event.READY: State.PROPOSE},
    State.NEW_DIALOG: {Event.READY: State.PROPOSE},
    State.INFRA_ERROR: {event: state for state, event in AGAIN.items()},
    State.SUCCESS: {},
    State.EXHAUSTED: {},
})  # fmt: skip
"""Where each event leads. A session ends in SUCCESS or EXHAUSTED, or stays in INFRA_ERROR."""


class IllegalTransitionError(ConfigError):
    """An event that the table does not have for a state."""


class Machine:
    """The state of one session; moves along the table only."""

    def __init__(self) -> None:
        self.state = State.INIT

    def on(self, event: Event) -> State:
        """Take a transition and return the new state.

        Raises:
            IllegalTransitionError: The table has none for this event here.
        """
        there = TRANSITIONS[self.state]
        if event not in there:
            possible = ", ".join(there) or "none, the session has ended"
            raise IllegalTransitionError(
                f"no transition from {self.state} on '{event}'; possible events: {possible}"
            )
        self.state = there[event]
        return self.state
