"""The case base: layouts that somebody ran, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ValidationError

from models.errors import ConfigError, DatasetUnreadableError
from models.sharding.job import Job
from models.sharding.knowledge.facets import facets_of
from models.sharding.layout import REMATS, Layout
from models.sharding.published import Published
from models.sharding.specs import ModelSpec, Slice, Workload
from models.sharding.specs.chip import ChipSpec

Outcome = Literal["ran", "out of memory", "failed"]
_LONGEST_ID = 80
_LARGEST = 2**20
_BAD_LINE = (
    ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, ConfigError,
)  # fmt: skip
"""No axis of a layout is larger than this."""


@dataclass(frozen=True)
class Case:
    """One run: what was asked, the layout, what it took."""

    id: str
    job: Job
    layout: Layout
    outcome: Outcome
    step_s: float | None
    """Seconds of a step; None: not measured, or it did not run."""
    source: str
    """Where it comes from: "published", or the name of a run of one's own."""

    @property
    def group(self) -> tuple[str, str]:
        """Model family and chip: what is left out together."""
        return self.job.model.family, self.job.place.chip.name

    @property
    def topics(self) -> tuple[str, ...]:
        """Nothing: a case is found by what it is like, not by what it explains."""
        return ()

    @cached_property
    def facets(self) -> Mapping[str, frozenset[str]]:
        """What the job is about."""
        return {name: frozenset({value}) for name, value in facets_of(self.job).items()}

    @property
    def title(self) -> str:
        """Model, chips and layout in a line."""
        return f"{self.job.model.name} on {self.job.place.text()}: {self.layout.text()}"

    @cached_property
    def text(self) -> str:
        """The run in words, which are searched and shown."""
        model, work, chips = self.job.model, self.job.workload, self.job.place.chips
        kind = "mixture of experts" if model.experts else "dense"
        speed = "" if self.step_s is None else f", {self.step_s:.4g} s per step"
        return (
            f"{work.stage} of {model.name} ({kind}, {model.params / 1e9:.3g} billion parameters) "
            f"on {chips} {self.job.place.chip.name} ({self.job.place.text()}), sequences of "
            f"{work.seq_len} tokens, {work.global_batch} in a batch, {work.compute}. "
            f"Layout {self.layout.text()}: {self.outcome}{speed}."
        )


class CaseTable(NamedTuple):
    """Cases that could be read, and why the others could not."""

    cases: tuple[Case, ...]
    left_out: dict[int, str]
    """Line (from 1 on) and the reason."""


def cases_of(rows: Sequence[Published]) -> tuple[Case, ...]:
    """Return published runs as cases."""
    return tuple(Case(row.id, row.job, row.layout, "ran", row.step_s, "published") for row in rows)


def append_case(path: Path, case: Case) -> None:
    """Add a run to a file of cases, one JSON object per line; the folder is made.

    The shape of the model and the rates of the chip are written whole: a case outlives the
    tables that named them. A line that an earlier writer left unfinished is ended first.

    Raises:
        ConfigError: The time is not positive, or stands beside a run that failed.
    """
    if case.step_s is not None and not (0 < case.step_s < float("inf")):
        raise ConfigError(f"case '{case.id}': {case.step_s} s per step is none; give None")
    if case.step_s is not None and case.outcome != "ran":
        raise ConfigError(f"case '{case.id}' has a time, but its outcome is '{case.outcome}'")
    place = case.job.place
    values = {
        "id": case.id,
        "model": case.job.model.model_dump(),
        "workload": case.job.workload.model_dump(),
        "chip": place.chip.model_dump(),
        "shape": place.shape,
        "pods": place.pods,
        "layout": asdict(case.layout),
        "outcome": case.outcome,
        "step_s": case.step_s,
        "source": case.source,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        is_open = False
        if file.tell():
            file.seek(-1, 2)
            is_open = file.read(1) != b"\n"
        line = json.dumps(values, allow_nan=False) + "\n"
        file.write(b"\n" * is_open + line.encode())


def read_cases(path: Path) -> CaseTable:
    """Read a file of cases; lines that are none are left out with the reason.

    A file that does not exist holds none: nobody has run anything yet.

    Raises:
        DatasetUnreadableError: The path is a folder, or the file cannot be opened.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return CaseTable((), {})
    except OSError as error:
        raise DatasetUnreadableError(
            f"file of cases {path} cannot be read ({error}); give a file of JSON lines"
        ) from None
    cases, left_out = [], {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            cases.append(_case(json.loads(line)))
        except _BAD_LINE as error:
            said = str(error).splitlines()
            left_out[number] = f"{type(error).__name__}: {said[0][:200] if said else 'no case'}"
    return CaseTable(tuple(cases), left_out)


def _case(values: Mapping[str, Any]) -> Case:
    if values["outcome"] not in get_args(Outcome):
        raise ConfigError(f"outcome '{values['outcome']}'; known: {', '.join(get_args(Outcome))}")
    step_s = values["step_s"]
    is_number = isinstance(step_s, int | float) and not isinstance(step_s, bool)
    if step_s is not None and not (is_number and 0 < step_s < float("inf")):
        raise ConfigError(f"step_s {step_s!r} is no positive number of seconds")
    try:
        model = ModelSpec.model_validate(values["model"])
        work = Workload.model_validate(values["workload"])
        chip = ChipSpec.model_validate(values["chip"])
    except ValidationError as error:
        raise ConfigError(" ".join(str(error).split())) from None
    shape = tuple(int(size) for size in values["shape"])
    place = Slice(chip, shape, int(values["pods"]))
    name = str(values["id"])
    if not name or len(name) > _LONGEST_ID:
        raise ConfigError(f"an id has 1 to {_LONGEST_ID} characters, found {len(name)}")
    return Case(
        name,
        Job(model, work, place),
        _layout(values["layout"]),
        values["outcome"],
        None if step_s is None else float(step_s),
        str(values["source"])[:_LONGEST_ID],
    )


def _layout(values: object) -> Layout:
    if not isinstance(values, dict):
        raise ConfigError(f"layout is a {type(values).__name__}, it must name its axes")
    sizes = {key: value for key, value in values.items() if key != "remat"}
    for key, value in sizes.items():
        least = 0 if key == "zero" else 1
        if type(value) is not int or not least <= value <= _LARGEST:
            raise ConfigError(f"layout: {key}={value!r} is no size")
    if values.get("remat", "full") not in REMATS:
        raise ConfigError(f"layout: remat '{values['remat']}'; known: {', '.join(REMATS)}")
    return Layout(**values)
