"""A verdict with what a list of sessions says beside it."""

from __future__ import annotations

import hashlib

import msgspec

from models.detection.session import Session
from models.detection.verdicts import Verdict


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One session in a list.

    Attributes:
        verdict: What was found.
        asked: Beginning of its first prompt.
        calls, events: How many.
        first_s, last_s: When it began and ended, in seconds since 1970; None: not recorded.
        unknown: Kinds of records that no parser knows, with how often.
        quarantined: Records that could not be read.
        key: SHA-256 of the session as it is kept.
    """

    verdict: Verdict
    asked: str = ""
    calls: int = 0
    events: int = 0
    first_s: float | None = None
    last_s: float | None = None
    unknown: dict[str, int] = {}
    quarantined: int = 0
    key: str = ""

    @property
    def name(self) -> str:
        """A name for files: the session's agent and id, safe and short."""
        told = f"{self.verdict.agent}/{self.verdict.session}/{self.key}"
        digest = hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:12]
        return f"{self.verdict.outcome}-{digest}"

    @staticmethod
    def of(session: Session, verdict: Verdict, key: str = "") -> Record:
        """Return the record of a session.

        Args:
            session: What happened.
            verdict: What was found.
            key: SHA-256 of the session as it is kept: two logs may have one id.
        """
        times = [event.time_s for event in session.events if event.time_s is not None]
        prompt = next((e.text for e in session.events if e.kind == "user_message"), "")
        return Record(
            verdict, " ".join(prompt[:400].split())[:160], sum(1 for _ in session.calls()),
            len(session.events), min(times, default=None), max(times, default=None),
            session.coverage.unknown, len(session.coverage.quarantined), key,
        )  # fmt: skip
