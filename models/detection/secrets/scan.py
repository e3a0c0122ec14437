"""Looks for credentials in a text: one pass of an automaton, then forms around its hits only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import ahocorasick

from models.detection.secrets.assigned import KEYS, assigned
from models.detection.secrets.rules import Rule, read_rules

Certainty: TypeAlias = Literal["certain", "likely"]
"""certain: its form is that of one provider. likely: it is assigned like a credential."""

_ASSIGNED = -1
_NAME_CHARS, _VALUE_CHARS = 64, 330


@dataclass(frozen=True)
class Finding:
    """A credential in a text.

    Attributes:
        rule: Category; `assigned`: told by the name that it is given to.
        provider: Whose it is.
        start, end: Where it lies, in characters.
        certainty: See `Certainty`.
        digest: Names the value without telling it.
        preview: Its first characters, for people.
    """

    rule: str
    provider: str
    start: int
    end: int
    certainty: Certainty
    digest: str
    preview: str


class SecretScanner:
    """Finds credentials; made once, used for any number of texts from any thread.

    Args:
        rules: Forms; None: the shipped ones.
        names: Whether values count that are only assigned like a credential.
        allowed: Digests of values that are known and do not count.
    """

    def __init__(
        self,
        rules: Sequence[Rule] | None = None,
        *,
        names: bool = True,
        allowed: Iterable[str] = (),
    ) -> None:
        self.rules = tuple(read_rules() if rules is None else rules)
        self._allowed = frozenset(allowed)
        self._order = {rule.id: place for place, rule in enumerate(self.rules)}
        wanted: dict[str, list[int]] = {}
        for place, rule in enumerate(self.rules):
            for key in rule.keys:
                wanted.setdefault(key, []).append(place)
        for key in KEYS if names else ():
            wanted.setdefault(key, []).append(_ASSIGNED)
        self._automaton = ahocorasick.Automaton()
        for key, places in wanted.items():
            self._automaton.add_word(key, tuple(places))
        if wanted:
            self._automaton.make_automaton()

    def scan(self, text: str) -> list[Finding]:
        """Return the credentials of a text in order; where two overlap, the certain one."""
        if not len(self._automaton):
            return []
        windows: dict[int, list[list[int]]] = {}
        for end, places in self._automaton.iter(text):
            for place in places:
                before, after = self._reach(place)
                first, last = max(0, end - before), min(len(text), end + after)
                known = windows.setdefault(place, [])
                if known and first <= known[-1][1]:
                    known[-1][1] = max(last, known[-1][1])
                else:
                    known.append([first, last])
        certain: list[Finding] = []
        likely: list[Finding] = []
        for place, spans in windows.items():
            for first, last in spans:
                piece = text[first:last]
                if place == _ASSIGNED:
                    likely += [
                        self._finding("assigned", name, piece, first, span)
                        for *span, name in assigned(piece)
                    ]
                else:
                    rule = self.rules[place]
                    certain += [
                        self._finding(rule.id, rule.provider, piece, first, span)
                        for span in rule.find(piece)
                    ]
        found = [f for f in (*certain, *likely) if f.digest not in self._allowed]
        # Of two forms that fit the same value the earlier one says more.
        found.sort(key=lambda f: (f.start, -f.end, self._order.get(f.rule, len(self._order))))
        return _without_overlaps(found)

    def _reach(self, place: int) -> tuple[int, int]:
        if place == _ASSIGNED:
            return _NAME_CHARS, _VALUE_CHARS
        rule = self.rules[place]
        return rule.before, rule.after

    @staticmethod
    def _finding(rule: str, provider: str, piece: str, shift: int, span: Sequence[int]) -> Finding:
        value = piece[span[0] : span[1]]
        return Finding(
            rule,
            provider,
            shift + span[0],
            shift + span[1],
            "likely" if rule == "assigned" else "certain",
            hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:16],
            value[:4] + "…" if len(value) > 12 else "…",
        )

    def redact(self, text: str) -> str:
        """Strike out the credentials of a text."""
        parts, last = [], 0
        for found in self.scan(text):
            parts += [text[last : found.start], f"[{found.rule}:{found.digest}]"]
            last = found.end
        return "".join([*parts, text[last:]])


def _without_overlaps(findings: list[Finding]) -> list[Finding]:
    kept: list[Finding] = []
    for found in findings:
        if kept and found.start < kept[-1].end:
            if kept[-1].certainty == "certain" or found.certainty == "likely":
                continue
            kept.pop()
        kept.append(found)
    return kept
