"""Techniques and what is known of them, for who judges a session."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from models.detection.intel import IntelStore, Threat, curated, threat, threats
from models.detection.intent.words import is_empty, stem, words

_MOST = 5


class ThreatContext:
    """The taxonomy with curated findings, and the explorer's where there is a store.

    Args:
        store: Findings of the explorer; None: shipped ones only.
    """

    def __init__(self, store: IntelStore | None = None) -> None:
        self._store = store

    def get_threat_framework(self, technique: str = "", query: str = "") -> dict[str, Any]:
        """Return techniques with their signs and with findings, each marked [EAS] or [CURATED].

        Args:
            technique: Id of one; empty: all, or those that the query is about.
            query: Words to look for.

        Raises:
            UnknownNameError: There is no such technique.
        """
        if technique:
            chosen: tuple[Threat, ...] = (threat(technique),)
        elif query:
            chosen = self._about(query)
        else:
            chosen = threats()
        ids = {one.id for one in chosen}
        entries = self._store.entries() if self._store is not None else curated()
        return {
            "techniques": [msgspec.to_builtins(one) for one in chosen],
            "intel": [
                {"technique": one.technique, "text": one.shown, "source": one.source}
                for one in entries
                if one.technique in ids
            ],
        }

    def _about(self, query: str) -> tuple[Threat, ...]:
        asked = {stem(word) for word in words(query) if not is_empty(word)}
        counts = {one: Counter(stem(word) for word in words(_told(one))) for one in threats()}

        def likeness(one: Threat) -> float:
            # A word that few techniques know says more.
            return sum(
                counts[one][word] / sum(word in other for other in counts.values())
                for word in asked
                if counts[one][word]
            )

        ranked = sorted(threats(), key=likeness, reverse=True)
        return tuple(one for one in ranked[:_MOST] if likeness(one))


def _told(one: Threat) -> str:
    return " ".join((one.id, one.name, one.what, *one.signs))
