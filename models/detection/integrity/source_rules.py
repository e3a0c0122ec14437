"""What the facts of a server's source say, each as a sentence for an analyst."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models.detection.integrity.effects import Effect
from models.detection.integrity.findings import Finding
from models.detection.integrity.source import MODULE, SourceFacts, ToolFacts
from models.detection.triage.blocks import SpanModels
from models.detection.triage.sentences import sentences
from models.detection.verdicts import Evidence, Outcome, Signal

SUPPLY, FLOW, INTERPRETER = "ADR.T0001", "ADR.T0003", "ADR.T0004"
RUG_PULL, PERMISSIONS, POISONING, TEMPORAL = "ADR.T0006", "ADR.T0007", "ADR.T0013", "ADR.T0015"
_STEERS = 0.95
# A text in code that speaks to an agent; most prose in code is help, SQL or messages.
_SPEAKS = re.compile(
    r"\b(?:you must|must now|before (?:you|answering|responding)|ignore (?:all|any|previous|the)|"
    r"disregard|do not (?:tell|mention|inform|ask)|system (?:notice|override|instruction)|"
    r"(?:the )?(?:ai )?(?:assistant|agent) (?:must|should|shall|is required)|"
    r"new (?:goal|objective|instructions?)|override)\b",
    re.I,
)

# What a description says when it owns up to an effect.
_OWNS = {
    "send": r"send|post|publish|push|notif|upload|submit|e?mail|messag|webhook|share|sync|"
    r"forward|track|telemetr|report|record|save|store|create|register|alert",
    "process": r"run|execut|command|shell|process|script|git|docker|kube|terminal|launch|start|"
    r"build|test|install|compil|open|convert|ffmpeg|lint|format|deploy|restart|benchmark",
    "evaluate": r"eval|execut|run|python|code|script|express|formula|calculat|comput|math|load",
    "delete": r"delet|remov|clear|clean|purg|reset|drop|uninstall|cache|temp|overwrit|replac|mov|"
    r"renam|download|rotat|expir|prun|unwatch|archiv|sync|writ|stash|commit|save",
    "credentials": r"credential|secret|token|password|passphrase|\bkeys?\b|ssh|aws|cloud|auth|"
    r"login|sign|certif|keyring|kube|netrc|config|git|deploy|connect",
    "environment": r"environ|variable|\benv\b|config|system|diagnos|debug|info|setting",
}
_OWNED = {name: re.compile(rf"\b(?:re|un)?(?:{words})", re.I) for name, words in _OWNS.items()}


def source_findings(
    facts: SourceFacts, server: str, models: SpanModels | None = None
) -> list[Finding]:
    """Judge what is known of a server's source.

    Args:
        facts: From `facts_of`.
        server: How findings name it.
        models: What finds instructions in texts; None: constant texts are not looked at.
    """
    found: list[Finding] = []
    for tool in facts.tools:
        for signal, path, line in _of_tool(tool, models):
            found.append(Finding(signal, f"{server}/{tool.tool}", path, line))
    for secret in facts.secrets:
        signal = _signal(
            "secret-constant", f"the source holds a credential: {secret.text}", 0.8, SUPPLY,
            "policy",
        )  # fmt: skip
        found.append(Finding(signal, server, secret.path, secret.line))
    for change in facts.mutations:
        signal = _signal(
            "description-changes-itself",
            f"the source changes what a tool is said to be while the server runs: `{change.text}`",
            0.8, RUG_PULL,
        )  # fmt: skip
        found.append(Finding(signal, server, change.path, change.line))
    # Helpers that several tools reach are told once, of the first.
    once: dict[tuple[str, str, int], Finding] = {}
    for one in found:
        once.setdefault((one.signal.evidence.rule, one.path, one.line), one)
    return list(once.values())


def _of_tool(tool: ToolFacts, models: SpanModels | None) -> Iterator[tuple[Signal, str, int]]:
    name = "the file, as soon as it is imported," if tool.tool == MODULE else f"tool '{tool.tool}'"
    networks = [one for one in tool.effects if one.kind in ("send", "fetch")]
    for effect in tool.effects:
        for signal in _of_effect(tool, name, effect, networks):
            yield signal, effect.path, effect.line
    for condition in tool.conditions:
        what, weight, technique = {
            "calls": ("how often it was called", 0.7, RUG_PULL),
            "time": ("a fixed date or time", 0.5, TEMPORAL),
            "chance": ("chance", 0.4, POISONING),
        }[condition.on]
        yield (
            _signal(
                f"result-by-{condition.on}",
                f"{name} gives another result depending on {what}: `if {condition.test}`",
                weight, technique,
            ),
            condition.path, condition.line,
        )  # fmt: skip
    for line, text in tool.orders if models is not None else ():
        assert models is not None
        for one in sentences(text):
            if _SPEAKS.search(one) and models.steers.score(one) >= _STEERS:
                yield (
                    _signal(
                        "result-orders",
                        f"{name} holds a text that speaks to an agent to lead it away: '{one}'",
                        0.6, FLOW,
                    ),
                    tool.path, line,
                )  # fmt: skip
                break


def _of_effect(
    tool: ToolFacts, name: str, effect: Effect, networks: list[Effect]
) -> Iterator[Signal]:
    where = f" to {effect.host}" if effect.host else ""
    taken = " and ".join(_TAKEN[one] for one in effect.takes)
    if effect.kind in ("send", "fetch") and not effect.is_answer_used and taken:
        is_secret = {"environment", "credentials", "files"} & set(effect.takes)
        if is_secret or (effect.host and not _owns(tool, "send")):
            yield _signal(
                "silent-send",
                f"{name} hands {taken}{where} by `{effect.call}` and does nothing with the answer"
                + _unsaid(tool, "send"),
                0.9 if is_secret else 0.7, SUPPLY,
            )  # fmt: skip
    if effect.kind == "send" and "@" in effect.host:
        yield _signal(
            "constant-recipient",
            f"{name} sends mail to {effect.host}, an address that is written into its source",
            0.6, SUPPLY,
        )  # fmt: skip
    if effect.kind in ("credentials", "environment") and not _owns(tool, effect.kind):
        what = "credentials" if effect.kind == "credentials" else "all environment variables"
        # Settings are read as a file is imported; only what also sends them is more than that.
        is_quiet = tool.tool == MODULE and effect.kind == "environment" and not networks
        yield _signal(
            f"reads-{effect.kind}",
            f"{name} reads {what} by `{effect.call}`{_unsaid(tool, effect.kind)}"
            + (", and uses the network" if networks else ""),
            0.9 if networks else 0.6, SUPPLY, "benign" if is_quiet else "attempted",
        )  # fmt: skip
    if effect.kind in ("evaluate", "import"):
        if effect.is_decoded:
            yield _signal(
                "runs-decoded-code",
                f"{name} decodes a text and runs it by `{effect.call}`: what it runs cannot be "
                "read in its source",
                0.9, SUPPLY,
            )  # fmt: skip
        elif "arguments" in effect.takes and tool.tool != MODULE:
            # Modules by name are how plugins are loaded.
            owned = effect.kind == "import" or _owns(tool, "evaluate")
            yield _signal(
                "evaluates-arguments",
                f"{name} evaluates what its caller gives by `{effect.call}`"
                + ("" if owned else _unsaid(tool, "evaluate")),
                0.3 if owned else 0.7, INTERPRETER, "benign" if owned else "attempted",
            )  # fmt: skip
    if effect.kind == "process" and effect.is_shell and "arguments" in effect.takes:
        owned = _owns(tool, "process")
        yield _signal(
            "shell-from-arguments",
            f"{name} gives what its caller says to a shell by `{effect.call}`"
            + ("" if owned else _unsaid(tool, "process")),
            0.3 if owned else 0.7, INTERPRETER, "benign" if owned else "attempted",
        )  # fmt: skip
    if effect.kind in ("delete", "write", "process") and tool.is_read_only:
        yield _signal(
            "not-read-only",
            f"{name} is declared read-only, and its code calls `{effect.call}`",
            0.5 if effect.kind == "delete" else 0.3, PERMISSIONS,
            "attempted" if effect.kind == "delete" and not _owns(tool, "delete") else "benign",
        )  # fmt: skip


_TAKEN = {
    "arguments": "what its caller gave", "environment": "environment variables",
    "files": "the content of files", "credentials": "credentials",
}  # fmt: skip


def _owns(tool: ToolFacts, effect: str) -> bool:
    # Without a description there is nothing that an effect could contradict.
    if not tool.description:
        return tool.tool != MODULE
    return bool(_OWNED[effect].search(tool.description))


def _unsaid(tool: ToolFacts, effect: str) -> str:
    if tool.tool == MODULE or _owns(tool, effect):
        return ""
    return ", which its description does not say"


def _signal(
    rule: str, sentence: str, weight: float, technique: str, outcome: Outcome = "attempted"
) -> Signal:
    return Signal(outcome, Evidence(rule, sentence, (), weight), technique)
