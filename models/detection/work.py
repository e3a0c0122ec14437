"""The steps of `detect-attacks` over gathered sessions: a verdict for each, kept by content."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import msgspec

from models.detection.config import DetectConfig
from models.detection.dataflow.labels import UNLABELLED, read_labels
from models.detection.examiner import Check, Examiner, Followed
from models.detection.gathering import Stored, load
from models.detection.integrity.confidential import confidential_to_strangers
from models.detection.integrity.usage import Known, examine_usage
from models.detection.policies.store import check_policies, read_policies
from models.detection.reasoning.detector import Detector, shipped
from models.detection.reasoning.judge import Judge
from models.detection.records import Record
from models.detection.session import Session
from models.detection.verdicts import Verdict


def examiner_of(config: DetectConfig, judge: Judge | None = None) -> Examiner:
    """Return what a config judges by.

    Args:
        config: Detector, policies and approved servers.
        judge: A language model for what is near the threshold; None: nobody is asked.
    """
    detector = Detector.load(config.detector) if config.detector else shipped()
    policies = read_policies((config.policies,)) if config.policies else read_policies()
    labels = read_labels(config.labels) if config.labels else UNLABELLED
    checks: list[Check] = [partial(check_policies, policies=policies)]
    if labels.confidential:
        checks.append(partial(confidential_to_strangers, labels=labels))
    known = Known(models=detector.spans, approved=frozenset(config.servers) or None)
    return Examiner(
        detector,
        (partial(examine_usage, known=known), *checks),
        policies.digest, judge, config.personas, labels,
    )  # fmt: skip


def key_of(config: DetectConfig, examiner: Examiner) -> str:
    """Return what a verdict depends on besides its session, as a name for a folder."""
    judge = config.judge
    script = Path(judge.removeprefix("scripted:")) if judge.startswith("scripted:") else None
    said = {
        "code": code_digest(), "detector": examiner.detector.digest,
        "policies": examiner.policies, "labels": examiner.labels.digest,
        "personas": config.personas, "servers": config.servers, "judge": judge,
        "asker": config.asker,
        "script": script.read_text() if script is not None and script.is_file() else "",
    }  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:16]


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return a digest of the program that judges: another one judges everything again."""
    state = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted((*folder.rglob("*.py"), *folder.rglob("*.toml"))):
        state.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return state.hexdigest()[:16]


class Kept:
    """Verdicts by the content of their sessions.

    Args:
        folder: Of one key; see `key_of`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, stored: Stored) -> Record | None:
        """Return what was found before; None: it was not examined, or the file is damaged."""
        try:
            return msgspec.json.decode(self._path(stored).read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return None

    def put(self, stored: Stored, record: Record) -> None:
        """Keep what was found, in one step."""
        path = self._path(stored)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{time.monotonic_ns()}.part")
        part.write_bytes(msgspec.json.encode(record))
        part.replace(path)

    def _path(self, stored: Stored) -> Path:
        return self.folder / stored.digest[:2] / f"{stored.digest}.json"


def triage(examiner: Examiner, stored: Stored) -> Record | None:
    """Apply the first tier; None: the session is worth following."""
    began = time.perf_counter()
    session = load(stored)
    try:
        is_passed = examiner.triage(session).is_passed
    except Exception:  # the second tier meets it again, and says what it is
        is_passed = True
    if is_passed:
        return None
    return Record.of(session, examiner.dismissed(session, began), stored.digest)


def investigate(examiner: Examiner, part: Sequence[Stored]) -> Iterator[tuple[Stored, Record]]:
    """Apply both tiers, and give each session with what was found as soon as it is known.

    Those that the judge has a vote on come last: it is asked about all of them at once. A session
    that cannot be judged is left to a person, with the reason.
    """
    asked: list[tuple[Stored, Followed]] = []
    for stored in part:
        session = load(stored)
        try:
            found = examiner.follow(session)
            if isinstance(found, Followed):
                if examiner.is_asked(found):
                    asked.append((stored, found))
                    continue
                (found,) = examiner.conclude([found])
        except Exception as error:  # whatever a record did to a rule, nobody else pays for it
            found = _left(examiner, session, error)
        yield stored, Record.of(session, found, stored.digest)
    if not asked:
        return
    followed = [one for _, one in asked]
    try:
        verdicts = examiner.conclude(followed)
    except Exception as error:
        verdicts = [_left(examiner, one.session, error) for one in followed]
    for (stored, one), verdict in zip(asked, verdicts, strict=True):
        yield stored, Record.of(one.session, verdict, stored.digest)


def _left(examiner: Examiner, session: Session, error: Exception) -> Verdict:
    return examiner.undetermined(session, f"{type(error).__name__}: {error}"[:300])


def partitions(found: Sequence[Stored], size: int) -> list[tuple[Stored, ...]]:
    """Divide sessions for tasks; the same sessions give the same parts."""
    return [tuple(found[at : at + size]) for at in range(0, len(found), size)]
