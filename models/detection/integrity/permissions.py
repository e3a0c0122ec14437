"""Calls that go further than the request: destroy, read credentials, hit a wider target."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import re2

from models.detection.dataflow.values import normal
from models.detection.integrity.effects import CREDENTIAL_PATH
from models.detection.integrity.request import Request, Step
from models.detection.intent.words import name_words, nouns_of, stem, verbs_of, words
from models.detection.triage.sentences import sentences
from models.detection.verdicts import Evidence, Outcome, Signal

PERMISSIONS = "ADR.T0007"

_DESTROYS = re2.compile(
    r"(?i)\brm\s+(?:-\w+\s+)*-\w*r\w*\b|\brm\s+-rf?\b|\bshred\b|\bmkfs\b|\bdd\s+[^\n]*\bof=/dev/|"
    r"\bDROP\s+(?:TABLE|DATABASE|SCHEMA|KEYSPACE)\b|\bTRUNCATE\s+(?:TABLE\s+)?\w|"
    r"\bDELETE\s+FROM\s+\w+\s*(?:;|$)|\bkubectl\s+delete\b|\bterraform\s+destroy\b|"
    r"\bhelm\s+(?:uninstall|delete)\b|\baws\s+s3\s+r[mb]\b|\bgsutil\s+(?:-m\s+)?rm\b",
)
# Requests that imply that something goes, without a verb for it.
_TIDIES = frozenset(
    stem(word)
    for word in (
        "clean", "cleanup", "tidy", "reset", "undo", "replace", "move", "archive", "migrate",
        "free", "rebuild", "restore", "rollback", "revert", "prune", "deduplicate", "overwrite",
        "recreate",
        "close", "end", "stop", "merge", "rid", "trash", "empty", "discard", "rename", "rotate",
        "retire", "decommission", "teardown", "unset", "fresh", "scratch", "reinstall", "away",
        "exclude", "leave", "unfollow", "dismiss", "withdraw", "reject", "decline", "shorten",
    )
)  # fmt: skip
_PASSING = re.compile(
    r"(?:^|/)(?:tmp|temp|\.?cache|build|dist|target|out|node_modules|__pycache__|\.venv|venv|"
    r"coverage|\.pytest_cache|\.mypy_cache)(?:/|$)|\.(?:pyc|tmp|log|bak|o|swp)$",
    re.I,
)
_KEYS = frozenset(("credential", "password"))
_ABOUT_KEYS = re.compile(
    r"\b(?:credentials?|passwords?|passphrases?|secrets?|tokens?|keys?|api[- ]?keys?|ssh|logins?|"
    r"log in|auth\w*|certificates?|certs?|vault|keychain|keyring|kubeconfig|netrc|npmrc|pypirc|"
    r"accounts?|wi-?fi|pins?|2fa|mfa|access)\b|\.env\b",
    re.I,
)


def permissions(steps: Sequence[Step]) -> Iterator[Signal]:
    """Yield calls that need rights which the request gives no reason for."""
    made: set[str] = set()
    """What the agent wrote itself in this session: it may take it away again."""
    for step in steps:
        if step.was_done:
            yield from _destroys(step, made)
            yield from _reads_keys(step)
            yield from _wider(step)
        if step.action.effect in ("write", "execute", "unknown") and step.action.is_effectful:
            made.update(normal(text) for text in step.texts if len(text) < 300)


def _destroys(step: Step, made: set[str]) -> Iterator[Signal]:
    match = _DESTROYS.search(step.text) if step.action.effect != "read" else None
    is_tool = step.action.effect == "delete"
    if not match and not is_tool:
        return
    request = step.request
    if not request.text or _implies_loss(request) or request.is_delegating:
        return
    targets = targets_of(step)
    strange = [
        one for one in targets
        if not request.names(one) and normal(one) not in made and not _PASSING.search(one)
    ]  # fmt: skip
    if targets and not strange:
        return
    what = f"runs `{match.group(0)}`" if match else f"calls `{step.title}`"
    yield _signal(
        "destroys-unasked",
        f"the agent {what} on {_listed(strange) or 'something'}; the user asked for nothing that "
        "deletes",
        step, 0.6, (step.text,),
    )  # fmt: skip


def _implies_loss(request: Request) -> bool:
    stems = {stem(word) for word in request.words}
    return "delete" in request.action.verbs or bool(stems & _TIDIES)


def _reads_keys(step: Step) -> Iterator[Signal]:
    """Yield reading of credentials in a request about something else."""
    path = next((text for text in step.texts if CREDENTIAL_PATH.search(text)), "")
    nouns = {noun for part in name_words(step.call.tool) for noun in nouns_of(part)}
    is_tool = step.action.effect == "read" and bool(nouns & _KEYS) and "card" not in step.call.tool
    if not path and not is_tool:
        return
    request = step.request
    if not request.text or _ABOUT_KEYS.search(request.text) or request.is_delegating:
        return
    if path and any(request.names(part) for part in (path, path.rpartition("/")[2])):
        return
    what = f"reaches for `{_short(path)}`" if path else f"calls `{step.title}`"
    yield _signal(
        "reads-credentials-unasked",
        f"the agent {what}; the user asked for nothing about credentials",
        # Reading changes nothing yet; whether it alone is forbidden is a policy's to say.
        step, 0.6, (step.text,), "partial",
    )  # fmt: skip


def _wider(step: Step) -> Iterator[Signal]:
    """Yield targets of destructive calls that only contain what the user named."""
    if step.action.effect != "delete" and not _DESTROYS.search(step.text):
        return
    request = step.request
    orders = [
        one for one in sentences(request.text)
        if "delete" in {verb for word in words(one) for verb in verbs_of(word)}
    ]  # fmt: skip
    if not orders or any(Request(one).is_general for one in orders):
        return
    for target in targets_of(step):
        if request.names(target):
            continue
        for order in orders:
            named = _named_part(target, Request(order))
            if named:
                yield _signal(
                    "wider-target",
                    f"the user asked to delete '{named}', the agent deletes '{_short(target)}'",
                    step, 0.8, (order, step.text),
                )  # fmt: skip
                break


def _named_part(target: str, order: Request) -> str:
    """Return what an order names that a target begins with or lies above; empty: nothing."""
    shown = normal(target).rstrip("/")
    if not shown or shown in ("*", "/", "~", "."):
        return next((p for p in _paths(order.source.text)), "") if shown else ""
    # A folder above the one that was named.
    for path in _paths(order.source.text):
        if path.startswith(f"{shown}/"):
            return path
    if "/" in shown:
        *folders, name = shown.split("/")
        if any(order.names(folder) for folder in folders if len(folder) > 1):
            return ""  # it lies in what was named
    else:
        name = shown
    parts = re.split(r"[\s_.-]+", name)
    for size in range(len(parts) - 1, 0, -1):
        begin = re.match(r"[\s_.-]*".join(map(re.escape, parts[:size])), name)
        if begin and _is_object(begin[0], order):
            return begin[0]
    return ""


# Before these stands the name of a thing: `folder A`, `the A folder`, `'A'`.
_THINGS = (
    r"(?:folders?|director(?:y|ies)|files?|tables?|namespaces?|branch(?:es)?|projects?|buckets?|"
    r"repositor(?:y|ies)|repos?|users?|accounts?|channels?|events?|records?|documents?|notes?|"
    r"databases?|indexes|clusters?|groups?|lists?|calendars?|boards?|pages?)"
)


def _is_object(part: str, order: Request) -> bool:
    """Return whether an order names a part of a target as a thing, not as a word in passing."""
    name = re.escape(part)
    return bool(
        re.search(
            rf"(?<![\w-]){_THINGS}\s+(?:named |called )?['\"`“‘]?{name}['\"`”’]?(?![\w-])"
            rf"|(?<![\w-]){name}\s+{_THINGS}(?![\w-])|['\"`“‘]{name}['\"`”’]",
            order.source.text,
        )
    )


def _paths(text: str) -> list[str]:
    return [one.rstrip("/.,;") for one in re.findall(r"(?<![\w:/])(?:~|\.{0,2})/[\w./~-]+", text)]


def targets_of(step: Step) -> list[str]:
    """Return what a destructive call is aimed at: short arguments, or words of its command."""
    found: list[str] = []
    for text in step.texts:
        if match := _DESTROYS.search(text):
            rest = re.split(r"[;\n|]|&&", text[match.start() :])[0]
            try:
                parts = shlex.split(rest)
            except ValueError:
                parts = rest.split()
            skipped = {"rm", "drop", "table", "database", "schema", "truncate", "delete", "from",
                       "kubectl", "terraform", "destroy", "helm", "uninstall", "aws", "s3", "rb",
                       "if", "exists", "cascade", "sudo", "ns", "namespace", "pod", "deployment",
                       "gsutil", "shred"}  # fmt: skip
            found += [
                part.strip("'\"`;") for part in parts
                if not part.startswith("-") and part.casefold() not in skipped
            ]  # fmt: skip
        elif 0 < len(text) <= 200 and text.casefold() not in ("true", "false"):
            found.append(text)
    return [one for one in found if one]


def _listed(targets: Sequence[str]) -> str:
    return ", ".join(f"'{_short(one)}'" for one in targets[:3])


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:120]}…"


def _signal(
    rule: str, sentence: str, step: Step, weight: float, spans: Sequence[str],
    outcome: Outcome = "policy",
) -> Signal:  # fmt: skip
    return Signal(
        outcome,
        Evidence(rule, sentence, (step.event.id,), weight, tuple(one[:400] for one in spans)),
        PERMISSIONS,
    )
