"""An analyzer that knows which commands are dangerous by what they would do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from models.agents.security.base import Risk
from models.agents.security.shell.findings import Findings
from models.agents.security.shell.follow import Follower
from models.agents.security.shell.paths import absolute, takes_hold
from models.agents.security.shell.programs import program
from models.agents.security.shell.words import Known
from models.llm import Message, ToolCall
from models.llm.errors import MalformedReplyError

_EARLIER = 50
"""Commands before that are followed: variables, functions and files of the shell stay."""
_LONGEST = 100_000
_WRITERS = frozenset({"create", "str_replace", "insert"})
_READERS = frozenset({"view", "grep", "glob", "todo", "think", "finish"})


def rate_command(command: str, earlier: Iterable[str] = ()) -> Risk:
    """Rate a shell command without running it.

    The command is parsed, and followed like a shell would run it: words are expanded as far as
    their values are known, pipes and files carry what is known of their content, programs that
    start others are looked through. Text that is only printed is only text.

    Args:
        command: Bash.
        earlier: Commands that the same shell ran before.
    """
    known = Known()
    for before in earlier:
        _follow(before, known)
    return _follow(command, known).risk()


def _follow(command: str, known: Known) -> Findings:
    findings = Findings()
    if len(command) > _LONGEST:
        findings.add("unknown", "too-long", "is too long to be followed", command)
        return findings
    try:
        Follower(program, findings, known).program(command)
    except RecursionError:
        findings.add("unknown", "too-deep", "is nested too deep to be followed", command)
    return findings


class ShellRails:
    """Rates commands of the terminal and files that are written; see `rate_command`.

    Of other tools it has no opinion, so that their declarations decide.

    Args:
        terminals: Names of tools whose argument `command` is bash.
    """

    def __init__(self, terminals: Iterable[str] = ("terminal",)) -> None:
        self._terminals = frozenset(terminals)

    def is_slow(self, call: ToolCall) -> bool:
        """Whether rating a call takes more than a look at its name."""
        return call.name in self._terminals or call.name in _WRITERS

    def rate(self, call: ToolCall, history: Sequence[Message]) -> Risk | None:
        """Rate a call, given what the model was sent before it."""
        if call.name in self._terminals:
            arguments = _arguments(call)
            command = arguments.get("command", "")
            if not isinstance(command, str):
                return None
            if arguments.get("is_input"):
                return self._typed(command)
            return rate_command(command, self._before(call, history))
        if call.name in _WRITERS:
            path = _arguments(call).get("path", "")
            if isinstance(path, str) and takes_hold(path):
                why = f"changes {absolute(path, '.')}: it runs later or lets in"
                return Risk("high", (why,))
            return Risk("medium") if str(path).startswith(("/", "~", "..")) else Risk("low")
        if call.name in _READERS:
            return Risk("low")
        return None

    def _typed(self, text: str) -> Risk:
        """Rate what is typed to a program: it may be a shell."""
        found = rate_command(text)
        if found.level == "high":
            return found
        return Risk("medium", ("types to a program that runs",))

    def _before(self, call: ToolCall, history: Sequence[Message]) -> list[str]:
        commands = [
            command
            for message in history
            for earlier in message.tool_calls
            if earlier.name in self._terminals
            and earlier.id != call.id
            and isinstance(command := _arguments(earlier).get("command"), str)
        ]
        return commands[-_EARLIER:]


def _arguments(call: ToolCall) -> dict[str, object]:
    try:
        return dict(call.parsed())
    except (MalformedReplyError, TypeError, ValueError):
        return {}
