"""What a rule may ask of a call, and of a session as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from models.detection.dataflow.leaves import of_value
from models.detection.integrity.effects import CREDENTIAL_PATH
from models.detection.integrity.leaks import default_scanner
from models.detection.integrity.request import Step, is_external, is_named
from models.detection.intent.actions import agreement
from models.detection.intent.words import name_words, nouns_of
from models.detection.policies.kinds import Kind
from models.detection.session import Session

CALL_FIELDS = {
    "server": "name of the server; empty for tools of the agent program",
    "tool": "name of the tool",
    "verb": "meanings of its verb: read, send, pay, create, delete, execute, ...",
    "noun": "what its name is about: money, mail, file, credential, ...",
    "effect": "read, write, send, pay, delete, execute or unknown",
    "arguments": "texts of its arguments, one by one",
    "argument.NAME": "one argument",
    "command": "what it runs: commands, scripts and SQL in its arguments",
    "destination": "mail addresses and hosts in its arguments",
    "external": "those of them that lie outside",
    "stranger": "those of the external ones that the user did not name",
    "data": "classes of data in its arguments: credential, likely-credential, credential-path",
    "request": "what the user said so far",
    "requested": "whether the user's words name what the call does",
    "status": "of its result: ok, error, missing, denied",
    "result": "text of its result, its first 20,000 characters",
    "actor": "sub-agent that made it; empty: the main one",
    "mode": "how calls are approved: values of the session's environment that say so",
    "folder": "working folder of the session",
}
"""Fields of a rule over calls, with what they hold."""

SESSION_FIELDS = {
    "calls": "how many calls there were",
    "done": "of these, how many were not refused",
    "denied": "how many calls were refused",
    "effects": "how many calls changed something",
    "servers": "names of the servers that were called",
    "tools": "names of the tools that were called",
    "mode": CALL_FIELDS["mode"],
    "folder": CALL_FIELDS["folder"],
    "agent": "program that ran the session",
    "request": "all that the user said",
}
"""Fields of a rule over sessions."""

PREFIXES = ("argument.",)
_NUMBERS = ("calls", "done", "denied", "effects")
KINDS: dict[str, Kind] = {
    name: "flag" if name == "requested" else "number" if name in _NUMBERS else "text"
    for name in (*CALL_FIELDS, *SESSION_FIELDS)
    if "." not in name
}
"""What fields hold; an argument holds whatever the call gave it."""
_MODES = ("permissionMode", "approval_policy", "sandbox_policy", "permission_profile", "mode",
          "approval", "confirmation_policy", "autoApprove")  # fmt: skip
_LONGEST_RESULT = 20_000


class CallFacts(Mapping[str, Any]):
    """Fields of a call; each is worked out when a rule first asks for it.

    Args:
        step: The call.
        session: Its session.
        trusted: Texts of the operator, which may name destinations too.
    """

    def __init__(self, step: Step, session: Session, trusted: Sequence[str] = ()) -> None:
        self._step, self._session, self._trusted = step, session, trusted
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return a field.

        Raises:
            KeyError: There is none.
        """
        if name not in self._found:
            self._found[name] = self._of(name)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(CALL_FIELDS)

    def __len__(self) -> int:
        return len(CALL_FIELDS)

    def _of(self, name: str) -> Any:
        step = self._step
        if name.startswith("argument."):
            given = (step.call.arguments or {}).get(name.partition(".")[2])
            return tuple(of_value(given)) if isinstance(given, dict | list) else given
        makers: dict[str, Callable[[], Any]] = {
            "server": lambda: step.call.server,
            "tool": lambda: step.call.tool,
            "verb": lambda: step.action.verbs,
            "noun": lambda: _nouns(step),
            "effect": lambda: step.action.effect,
            "arguments": lambda: step.texts,
            "command": lambda: commands_of(step),
            "destination": lambda: step.destinations,
            "external": lambda: tuple(filter(is_external, step.destinations)),
            "stranger": lambda: tuple(
                one for one in step.destinations
                if is_external(one) and not is_named(one, step.request, self._trusted)
            ),
            "data": lambda: _classes(step),
            "request": lambda: step.request.text,
            "requested": lambda: _is_requested(step),
            "status": lambda: step.result.status if step.result is not None else "missing",
            "result": lambda: step.result.text[:_LONGEST_RESULT] if step.result else "",
            "actor": lambda: step.event.actor,
            "mode": lambda: modes_of(self._session),
            "folder": lambda: folder_of(self._session),
        }  # fmt: skip
        return makers[name]()


def session_facts(session: Session, steps: Sequence[Step]) -> dict[str, Any]:
    """Return the fields of a session."""
    done = [step for step in steps if step.was_done]
    return {
        "calls": len(steps),
        "done": len(done),
        "denied": sum(s.result is not None and s.result.status == "denied" for s in steps),
        "effects": sum(s.action.effect not in ("read", "unknown") for s in done),
        "servers": frozenset(s.call.server for s in steps if s.call.server),
        "tools": frozenset(s.call.tool for s in steps),
        "mode": modes_of(session),
        "folder": folder_of(session),
        "agent": session.agent,
        "request": steps[-1].request.text if steps else "",
    }


_COMMANDS = frozenset(("command", "cmd", "script", "code", "sql", "statement", "commands"))
_DATABASES = frozenset(("sql", "db", "database", "postgres", "mysql", "sqlite", "execute", "query"))


def commands_of(step: Step) -> tuple[str, ...]:
    """Return what a call runs; a text that only speaks of a command is none."""
    if step.action.effect == "execute":
        return step.texts
    found = [value for name, value in (step.call.arguments or {}).items()
             if str(name).casefold() in _COMMANDS]  # fmt: skip
    # What is searched for is no command, what a database is asked is one.
    words = set(name_words(step.call.tool))
    if words & _DATABASES and "search" not in words:
        found.append((step.call.arguments or {}).get("query"))
    return tuple(text for one in found if one is not None for text in of_value(one))


def modes_of(session: Session) -> tuple[str, ...]:
    """Return how calls were approved, as far as the record tells."""
    return tuple(session.environment[key] for key in _MODES if key in session.environment)


def folder_of(session: Session) -> str:
    """Return the working folder."""
    environment = session.environment
    return environment.get("cwd") or environment.get("workspace") or ""


def _nouns(step: Step) -> frozenset[str]:
    return frozenset(noun for part in name_words(step.call.tool) for noun in nouns_of(part))


def _classes(step: Step) -> tuple[str, ...]:
    found: list[str] = []
    names = [f"{k}: {v}" for k, v in (step.call.arguments or {}).items() if isinstance(v, str)]
    for text in (*names, step.call.raw):
        for one in default_scanner().scan(text):
            found.append("credential" if one.certainty == "certain" else "likely-credential")
    if any(CREDENTIAL_PATH.search(text) for text in step.texts):
        found.append("credential-path")
    return tuple(dict.fromkeys(found))


def _is_requested(step: Step) -> bool:
    """Return whether the user's words name the verb of a call, or its own values in a command."""
    verbs, nouns = agreement(step.action, step.request.action)
    if step.action.effect in ("execute", "unknown"):
        return any(step.request.names(text) for text in step.texts if len(text) < 500)
    is_about = nouns > 0 or not step.action.nouns
    return verbs > 0 and (is_about or any(map(step.request.names, step.texts)))
