"""Modules that cheat, run through every stage: which one catches each, with and without linter."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from models.config import Config
from models.errors import DatasetMissingError, DatasetUnreadableError
from models.kernels.audit.candidate import audit_candidate
from models.kernels.candidate import KernelCandidate, Mode
from models.kernels.compiler import CompilePool
from models.kernels.execute.walls import ExecutionLimits
from models.kernels.harness.report import TestOutcome
from models.kernels.harness.run import Harness, SampleSet
from models.kernels.lint import Signature, lint_text
from models.kernels.profiles import DeviceProfile, find_profile
from models.kernels.samples.file import Fill, SampleRecord

Stage = Literal["lint", "execution", "test", "audit", "compile", "missed"]
CHEAT_LIMITS = ExecutionLimits(sample_s=8.0, cpu_s=60, memory_bytes=2**30, most_restarts=1)
"""What a cheat may use: bombs and endless loops end early."""
SHAPES = ((300,), (37, 70), (300,))
"""Sizes of the tensors that cheats are tried on; the last differs from the first in its values."""
COMPILED_FOR = "sm90"
"""Profile of the compile stage."""


class Cheat(Config):
    """One module that cheats, and who must say so."""

    name: str
    """Name of its file."""
    source: str
    """The module."""
    signature: str
    """Of the operator, in ATen's schema language."""
    op: str = "add"
    """Operator of the catalogue whose results are due."""
    form: Literal["functional", "out", "inplace"] = "functional"
    """How it is called."""
    caught: str | None = None
    """Rule of the linter that must refuse it."""
    stage: Literal["execution", "test", "audit"] | None = None
    """The later stage that must."""
    says: str = ""
    """Words of that stage, linter or not."""
    reason: str = ""
    """Why the linter cannot know; or why only the linter can."""
    only_lint: bool = False
    """No later stage sees anything wrong: it computes what is due, in a form that is refused."""
    mode: Mode = "strict"
    depends_on: tuple[str, ...] = ()
    size_reads: bool = False
    profile: str = "interpreter"

    @property
    def tries(self) -> str:
        """What it tries, in its own first line."""
        return self.source.partition("\n")[0].removeprefix("# Tries: ")


class CheatRow(Config):
    """What became of one cheat."""

    name: str
    tries: str
    """What it tries."""
    stage: Stage
    """The first stage that refuses it."""
    by: str
    """The rule, or the stage's words."""
    later_stage: Stage | None
    """The first stage that refuses it when the linter is off; None: that was not tried."""
    later_by: str = ""
    """That stage's words."""
    is_as_expected: bool
    """Caught by the stage and in the words due."""


def read_cheats(folder: Path) -> tuple[Cheat, ...]:
    """Read a folder of modules (`NAME.txt`) and its `manifest.toml`, in the manifest's order.

    Raises:
        DatasetMissingError: There is no manifest, or it names a module that is not there.
        DatasetUnreadableError: An entry is not as it should be.
    """
    manifest = folder / "manifest.toml"
    if not manifest.is_file():
        raise DatasetMissingError(f"no manifest of cheats at {manifest}; give a folder with one")
    cheats = []
    for name, entry in tomllib.loads(manifest.read_text(encoding="utf-8")).items():
        file = folder / f"{name}.txt"
        if not file.is_file():
            raise DatasetMissingError(f"{manifest} names '{name}', and {file} is not there")
        source = file.read_bytes().decode("utf-8")
        try:
            cheats.append(Cheat(name=name, source=source, **entry))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise DatasetUnreadableError(
                f"{manifest}, [{name}]: {place}: {first['msg']}; correct the entry"
            ) from None
    return tuple(cheats)


def cheat_table(
    cheats: Iterable[Cheat],
    harness: Harness,
    pool: CompilePool | None = None,
    *,
    without_lint: bool = True,
) -> tuple[CheatRow, ...]:
    """Run cheats through lint, execution, tests, audit and compilers.

    Args:
        cheats: From `read_cheats`.
        harness: With `CHEAT_LIMITS`, or an hour passes.
        pool: Compiles what passes all else; None: that stage is left out.
        without_lint: Also run what the linter refuses, as far as it can be run.
    """
    rows, sets = [], dict[tuple[str, str, str], SampleSet]()
    for cheat in cheats:
        profile = find_profile(cheat.profile)
        key = (cheat.op, cheat.form, cheat.signature)
        rules = _lint(cheat, profile)
        later: tuple[Stage, str] | None = None
        if not rules or (without_lint and cheat.mode == "strict"):
            if key not in sets:
                sets[key] = harness.prepare_records(cheat.op, cheat_samples(cheat))
            later = _later(cheat, harness, sets[key], profile, pool)
        first: tuple[Stage, str] = ("lint", ", ".join(rules)) if rules else later or ("missed", "")
        rows.append(CheatRow(
            name=cheat.name, tries=cheat.tries, stage=first[0], by=first[1],
            later_stage=later[0] if later else None, later_by=later[1] if later else "",
            is_as_expected=_is_as_expected(cheat, rules, later),
        ))  # fmt: skip
    return tuple(rows)


def cheat_samples(cheat: Cheat) -> list[SampleRecord]:
    """Return samples of a cheat's operator: float32 for every tensor, in three sizes."""
    signature = Signature.parse(cheat.signature)
    count = sum(
        "Tensor" in one.types and one.default is None and one.name != "out"
        for one in signature.parameters
    )
    records = []
    for seed, shape in enumerate(SHAPES):

        def tensor(which: int, shape: tuple[int, ...] = shape, seed: int = seed) -> dict[str, Any]:
            fill = Fill(kind="normal", high=1.0, seed=10 * seed + which)
            return {"tensor": {"dtype": "float32", "shape": shape, "fill": fill.model_dump()}}

        records.append(SampleRecord(
            op=cheat.op, dtype="float32", form=cheat.form,
            args=tuple(tensor(which) for which in range(count)),
            kwargs={"out": tensor(9)} if cheat.form == "out" else {},
        ))  # fmt: skip
    return records


def _lint(cheat: Cheat, profile: DeviceProfile) -> list[str]:
    report = lint_text(
        cheat.source, Signature.parse(cheat.signature), profile, cheat.mode,
        depends_on=cheat.depends_on, size_reads=cheat.size_reads,
    )  # fmt: skip
    if report.passed:
        return []
    return sorted({one.rule for one in report.violations if one.severity == "error"})


def _later(
    cheat: Cheat, harness: Harness, samples: SampleSet, profile: DeviceProfile,
    pool: CompilePool | None,
) -> tuple[Stage, str]:  # fmt: skip
    """Return the first stage after the linter that refuses a cheat, and its words."""
    candidate = KernelCandidate.of(cheat.op, cheat.source)
    report = harness.test(candidate, samples, profile, stop_at_first_failure=True)
    if report.first_failure is not None:
        return _stage_of(report.first_failure), report.first_failure.message
    audit = audit_candidate(candidate, harness, samples, profile, report=report)
    if not audit.ok:
        return "audit", audit.findings[0].message
    for launch in report.launches if pool is not None else ():
        assert pool is not None
        compiled = pool.compile(candidate, launch, find_profile(COMPILED_FOR))
        if not compiled.ok:
            return "compile", compiled.error_excerpt
    return "missed", ""


def _stage_of(failure: TestOutcome) -> Stage:
    """Return the stage that a failing test belongs to."""
    if failure.status in ("wrong", "no_error"):
        return "test" if failure.is_repeatable is not False else "audit"
    if failure.status == "violation" and failure.message.startswith(("provenance", "dispatch")):
        return "audit"
    return "execution"


def _is_as_expected(cheat: Cheat, rules: list[str], later: tuple[Stage, str] | None) -> bool:
    if cheat.caught is not None and cheat.caught not in rules:
        return False
    if later is None:
        return bool(rules)
    stage, words = later
    if cheat.only_lint or stage == "missed":
        return cheat.only_lint and bool(rules) and stage == "missed"
    return cheat.says in words and cheat.stage in (None, stage)
