"""What a description does beyond describing: takes a name, speaks of others, orders, hides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from models.detection.dataflow.views import plain
from models.detection.integrity.hidden import hidden_in
from models.detection.integrity.manifests import latest, texts_of
from models.detection.intent.words import name_words
from models.detection.session import ToolManifest
from models.detection.triage.blocks import SpanModels
from models.detection.triage.sentences import sentences
from models.detection.verdicts import Evidence, Outcome, Signal

SHADOWING, INJECTION = "ADR.T0009", "ADR.T0002"
_LONGEST_SPAN = 400
_STEERS = 0.9
"""Chance from which a sentence of a description counts as leading away."""
# Descriptions are there to tell a model what a tool does; only what speaks to the reader about
# more than this is no description.
_SPEAKS = re.compile(
    r"\b(?:you (?:must|should|have to|need to|are|will)|assistants?|the (?:agent|model|llm|ai)|"
    r"ignore|disregard|forget|instructions?|system prompt|important|urgent|secretly|silently)\b",
    re.I,
)

_WORD = re.compile(r"(?<![\w.-])[A-Za-z_][\w.-]{3,}(?![\w-])")
_BACKTICKED = re.compile(r"[`'\"“‘]([A-Za-z_][\w.-]{2,})[`'\"”’]")
# Orders that concern other tools, the user or the agent's files rather than this tool.
_ORDERS = (
    (
        "orders the agent to call it before or after something else",
        re.compile(
            r"\b(?:before|after|instead of|whenever|prior to|each time|every time)\b[^.\n]{0,60}"
            r"\b(?:any|every|each|all|other|another)\b[^.\n]{0,30}\b(?:tools?|functions?|servers?)\b"
            r"[^.\n]{0,60}\b(?:call|use|invoke|run|send|pass|read)\b"
            r"|\b(?:always|must|first)\b[^.\n]{0,20}\b(?:call|use|invoke|run)\b[^.\n]{0,30}"
            r"\b(?:before|prior to|instead of)\b[^.\n]{0,30}\b(?:any|every|all|other|another)\b",
            re.I,
        ),
    ),
    (
        "tells the agent to keep something from the user",
        re.compile(
            r"\b(?:do not|don't|never|without|not to)\s+(?:\w+\s+){0,2}?"
            r"(?:tell|telling|mention|mentioning|inform|informing|notify|notifying|reveal|show|"
            r"alert|alerting)(?:ing)?\b[^.\n]{0,40}\b(?:user|human|person|operator)\b",
            re.I,
        ),
    ),
    (
        "asks for a credential file",
        re.compile(
            r"(?:~|\$HOME|/home/\w+|/root)/\.(?:ssh|aws|netrc|npmrc|kube|docker|gnupg|cursor|"
            r"config/gcloud|git-credentials|pypirc)\b|\bid_(?:rsa|ed25519|ecdsa)\b|/etc/shadow\b",
            re.I,
        ),
    ),
)


def shadowing(
    manifests: Iterable[ToolManifest], models: SpanModels | None = None
) -> tuple[tuple[Signal, ToolManifest], ...]:
    """Judge the manifests of all servers that one agent sees together.

    Args:
        manifests: The last one of each tool counts.
        models: What finds instructions in texts; None: wording alone is looked at.

    Returns:
        Signals, each with the manifest that it is about.
    """
    tools = list(latest(manifests).values())
    found: list[tuple[Signal, ToolManifest]] = [*_same_names(tools)]
    for manifest in tools:
        found += [(signal, manifest) for signal in _of_one(manifest, tools, models)]
    unique = {signal: (signal, manifest) for signal, manifest in found}
    return tuple(unique.values())


def _same_names(tools: Sequence[ToolManifest]) -> Iterator[tuple[Signal, ToolManifest]]:
    by_form: dict[str, list[ToolManifest]] = {}
    for one in tools:
        by_form.setdefault(_form(one.tool), []).append(one)
    for group in by_form.values():
        for one, other in combinations(group, 2):
            if one.tool == other.tool and one.server != other.server:
                signal = _signal(
                    "tool-name-twice",
                    f"servers '{one.server}' and '{other.server}' both offer a tool '{one.tool}': "
                    "which one is called is chance",
                    0.3, (one.description, other.description), outcome="benign",
                )  # fmt: skip
                yield signal, other
            elif one.tool != other.tool and _is_disguise(one.tool, other.tool):
                signal = _signal(
                    "tool-name-lookalike",
                    f"'{one.tool}' of server '{one.server}' and '{other.tool}' of server "
                    f"'{other.server}' look alike and are not the same letters",
                    0.7 if one.server != other.server else 0.5,
                    (ascii(one.tool), ascii(other.tool)),
                )  # fmt: skip
                yield signal, other


# Digits and letters that are read for another; source: Unicode TR39, confusables.
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "-": "_", ".": "_"})
_READ_AS = str.maketrans("0O1I5", "oolls")


def _form(name: str) -> str:
    return plain(name).casefold().translate(_ALIKE).replace("rn", "m").replace("vv", "w")


def _is_disguise(one: str, other: str) -> bool:
    """Return whether two names differ by letters that people confuse, not by how they are cut."""
    if [*name_words(one)] == [*name_words(other)]:
        return False
    if not (one.isascii() and other.isascii()):
        return True
    return one.translate(_READ_AS) == other.translate(_READ_AS)


def _of_one(
    manifest: ToolManifest, tools: Sequence[ToolManifest], models: SpanModels | None
) -> Iterator[Signal]:
    own = {one.tool for one in tools if one.server == manifest.server}
    names = {
        one.tool: one
        for one in tools
        if one.server != manifest.server and one.tool not in own and _is_telling(one.tool)
    }
    for where, text in texts_of(manifest):
        shown = plain(text)
        for hidden in hidden_in(text):
            leads = models is not None and _leads(hidden.text, models) >= _STEERS
            if hidden.is_certain or leads:
                yield _signal(
                    "hidden-text",
                    f"{_titled(manifest)}: {where} holds text that people do not see, behind "
                    f"{hidden.how}",
                    0.9, (hidden.text or ascii(text),), INJECTION, is_hard=hidden.is_certain,
                )  # fmt: skip
        yield from _references(manifest, where, shown, names)
        for what, pattern in _ORDERS:
            if match := pattern.search(shown):
                yield _signal(
                    "ordering-description",
                    f"{_titled(manifest)}: {where} {what}",
                    0.7, (_around(shown, match.start(), match.end()),),
                )  # fmt: skip
        if models is not None:
            yield from _led(manifest, where, shown, models)


def _references(
    manifest: ToolManifest, where: str, text: str, names: dict[str, ToolManifest]
) -> Iterator[Signal]:
    told = {*_WORD.findall(text), *_BACKTICKED.findall(text)}
    for name in sorted(told & names.keys()):
        sentence = next((s for s in sentences(text) if name in s), text)
        # `use read_file to see the result` describes; an order takes the place of the other tool.
        is_order = re.search(
            r"\b(?:instead of|rather than|do not use|don't use|never use|must|always|before|"
            r"override|replaces?|ignore|disregard|deprecated|disabled)\b",
            sentence, re.I,
        )  # fmt: skip
        yield _signal(
            "speaks-of-another-server",
            f"{_titled(manifest)}: {where} "
            + ("orders how to use" if is_order else "speaks of")
            + f" '{name}', a tool of server '{names[name].server}'",
            0.75 if is_order else 0.3, (sentence,),
            outcome="attempted" if is_order else "benign",
        )  # fmt: skip


def _is_telling(name: str) -> bool:
    """Return whether a name is not also a word: `search` stands in many descriptions."""
    return len(name_words(name)) > 1


def _led(manifest: ToolManifest, where: str, text: str, models: SpanModels) -> Iterator[Signal]:
    leading = [
        one
        for one in sentences(text)
        if one.count(" ") >= 2 and _SPEAKS.search(one) and models.steers.score(one) >= _STEERS
    ]
    if leading:
        yield _signal(
            "leading-description",
            f"{_titled(manifest)}: {where} speaks to the agent to lead it away from its task",
            # Guides for models lead too: 3 of 334 tools of 25 servers did that nobody suspects.
            0.35, (leading[0],), INJECTION,
        )  # fmt: skip


def _leads(text: str, models: SpanModels) -> float:
    return max((models.steers.score(one) for one in sentences(text)), default=0.0)


def _titled(manifest: ToolManifest) -> str:
    return f"tool '{manifest.tool}' of server '{manifest.server}'"


def _around(text: str, start: int, end: int) -> str:
    return " ".join(text[max(0, start - 80) : end + 80].split())


def _signal(
    rule: str, sentence: str, weight: float, spans: Sequence[str], technique: str = SHADOWING,
    *, outcome: Outcome = "attempted", is_hard: bool = False,
) -> Signal:  # fmt: skip
    shown = tuple(one[:_LONGEST_SPAN] for one in spans if one)
    return Signal(outcome, Evidence(rule, sentence, (), weight, shown), technique, is_hard)
