"""Profiles as JSON lines: what `loom bench sharding --data FILE.jsonl` reads.

One object per line:

    {"id": "a-1",
     "question": {"model": "llama3.1-8b", "slice": "h100:64", "pods": 1, "stage": "pretrain",
                  "seq_len": 4096, "global_batch": 256},
     "layout": {"fsdp": 64, "micro_batch": 2, "remat": "full"},
     "profile": {"source": "xprof", "step_s": 1.2, "compute_s": 0.7,
                 "collectives": [{"kind": "all-gather", "axes": ["fsdp"], "group_size": 64,
                                  "wire_bytes": 1e10, "count": 64, "seconds": 0.3,
                                  "exposed_s": 0.2, "name": "ag.1"}]},
     "labels": ["fsdp"]}

`question` has the fields of `ShardingQuestion`, `layout` those of `Layout`, `profile` those of
`Profile` (with `top_ops` and `patterns` as objects of `Op` and `Pattern`), each but `source`
optional. `labels` (of `KINDS`) are optional too and are kept away from what diagnoses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from models.errors import DatasetMissingError, DatasetUnreadableError, ProjectError
from models.sharding.diagnosis.base import KINDS, Kind
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.profile.base import Collective, Op, Pattern, Profile, Source
from models.sharding.question import ShardingQuestion

_T = TypeVar("_T")


@dataclass(frozen=True)
class Case:
    """What is diagnosed: no label can be reached from here."""

    id: str
    job: Job
    layout: Layout
    profile: Profile


class Labelled(NamedTuple):
    """Cases, and apart from them what costs the most in each."""

    cases: list[Case]
    labels: dict[str, frozenset[Kind]]


def read_profiles(path: Path) -> Labelled:
    """Read a file of profiles.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: A line is no case; its number and what is wrong are named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DatasetMissingError(f"profiles {path} do not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetUnreadableError(f"profiles {path} cannot be read: {error}") from None
    cases: list[Case] = []
    labels: dict[str, frozenset[Kind]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            case, found = _case(json.loads(line))
            if case.id in labels:
                raise ValueError(f"id '{case.id}' is there twice")
        except (ProjectError, ValueError, TypeError, KeyError, RecursionError) as error:
            said = str(error).replace("\n", " ")
            raise DatasetUnreadableError(
                f"{path.name}, line {number}, is no profile: {said}; models/sharding/diagnosis/"
                "documents.py has the form of a line"
            ) from None
        cases.append(case)
        labels[case.id] = found
    if not cases:
        raise DatasetUnreadableError(f"{path.name} has no profile; give one JSON object per line")
    return Labelled(cases, labels)


def write_profiles(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows of `as_row`, one per line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def as_row(case: Case, labels: Iterable[Kind] = ()) -> dict[str, Any]:
    """Return the object of a case; its model must be a shipped one, which is named."""
    question = case.job.workload.model_dump(mode="json") | {
        "model": case.job.model.name,
        "slice": case.job.place.text(),
        "pods": case.job.place.pods,
    }
    profile = {name: value for name, value in asdict(case.profile).items() if value is not None}
    profile["trust"] = dict(case.profile.trust)
    profile.pop("layout", None)
    row = {"id": case.id, "question": question, "layout": asdict(case.layout), "profile": profile}
    return json.loads(json.dumps(row | {"labels": sorted(labels)}, default=float))  # type: ignore[no-any-return]


def _case(row: Any) -> tuple[Case, frozenset[Kind]]:
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, found {type(row).__name__}")
    missing = [name for name in ("id", "question", "layout", "profile") if name not in row]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    strange = [one for one in row.get("labels", ()) if one not in KINDS]
    if strange:
        raise ValueError(
            f"unknown labels {', '.join(map(str, strange))}; known: {', '.join(KINDS)}"
        )
    try:
        job = ShardingQuestion.model_validate(row["question"]).job()
        layout = _build(Layout, row["layout"])
        profile = _profile(row["profile"], layout)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from None
    return Case(str(row["id"]), job, layout, profile), frozenset(row.get("labels", ()))


def _profile(values: Any, layout: Layout) -> Profile:
    if not isinstance(values, dict) or values.get("source") not in get_args(Source):
        raise ValueError(f"profile.source must be one of {', '.join(get_args(Source))}")
    nested = dict(values)
    for name, kind in (("collectives", Collective), ("top_ops", Op), ("patterns", Pattern)):
        nested[name] = tuple(_build(kind, one) for one in values.get(name, ()))
    return _build(Profile, {**nested, "layout": layout})


def _build(kind: type[_T], values: Any) -> _T:
    """Build a dataclass from an object, its types checked, unknown keys refused."""
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} must be an object, found {type(values).__name__}")
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    return TypeAdapter(kind).validate_python(values)
