"""From a ledger to what people take away: where a campaign lives, the entries of its package."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from models.errors import DatasetMissingError
from models.kernels.compiler.result import CompileResult
from models.kernels.config import CampaignConfig
from models.kernels.ledger import CoverageRow, Ledger
from models.kernels.operators import find_operator
from models.kernels.package import OperatorMeta, PackageEntry, SuiteCount
from models.kernels.package.meta import compiled_targets
from models.kernels.prompts import PassingKernel
from models.kernels.prompts.retrieval import passing_kernel

COUNTED = ("kernel", "metadata", "vacuous")
"""Statuses of operators whose module goes into a package: all tests passed, all judges agree."""


class CampaignPlace(NamedTuple):
    """Files of a campaign."""

    folder: Path
    name: str
    """Tells its rows in the ledger from those of others."""

    @property
    def ledger(self) -> Path:
        """Raw outcomes; SQLite."""
        return self.folder / "ledger.sqlite"

    @property
    def package(self) -> Path:
        """Modules that count."""
        return self.folder / "package"

    @property
    def page(self) -> Path:
        """Coverage as a page."""
        return self.folder / "coverage.html"


def campaign_place(config: CampaignConfig, home: Path, code: str) -> CampaignPlace:
    """Return where a campaign lives, and make the folder: the same config goes on there.

    With other code its sessions begin anew; what their candidates share with earlier ones is in
    the ledger and is not run again.

    Args:
        config: What is asked.
        home: Folder of this room's state.
        code: Digest of the code that decides.
    """
    folder = (config.output or home / "campaigns" / config.digest).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return CampaignPlace(folder, f"{config.digest}-{code[:8]}")


def newest_package(home: Path) -> Path:
    """Return the package that was written last.

    Raises:
        DatasetMissingError: No campaign has written one.
    """
    found = sorted(home.glob("campaigns/*/package/manifest.json"), key=lambda f: f.stat().st_mtime)
    if not found:
        raise DatasetMissingError(
            f"no package below {home}; run `loom run generate-kernels` first, or name a folder "
            "in `package`"
        )
    return found[-1].parent


def package_entries(
    ledger: Ledger, rows: Iterable[CoverageRow], compiled: Sequence[CompileResult] = ()
) -> list[PackageEntry]:
    """Return the modules that count, each with what ledger and compilers say of it.

    Args:
        ledger: Holds the sources.
        rows: Of all suites, recomputed from it.
        compiled: Results of compilers for these modules.
    """
    by_operator: dict[str, list[CoverageRow]] = {}
    for row in rows:
        by_operator.setdefault(row.op_id, []).append(row)
    built: dict[str, list[CompileResult]] = {}
    for one in compiled:
        built.setdefault(one.sha, []).append(one)
    entries = []
    for op_id, found in sorted(by_operator.items()):
        public = next((row for row in found if row.suite == "S"), None)
        if public is not None and public.sha is not None and public.status in COUNTED:
            own = [row for row in found if row.sha == public.sha]
            entries.append(_entry(ledger, op_id, public, own, built.get(public.sha, [])))
    return entries


def _entry(
    ledger: Ledger, op_id: str, public: CoverageRow, rows: Sequence[CoverageRow],
    compiled: Sequence[CompileResult],
) -> PackageEntry:  # fmt: skip
    assert public.sha is not None
    candidate = ledger.candidate(op_id, public.sha)
    meta = OperatorMeta(
        **candidate.model_dump(exclude={"source"}),
        signature=find_operator(op_id).schema_text,
        rules=public.rules,
        is_hand_written=public.is_hand_written,
        dtypes=tuple(sorted(n for n, (ok, of) in public.by_dtype.items() if of and ok == of)),
        targets=compiled_targets(compiled),
        tests=tuple(_count(row) for row in sorted(rows, key=lambda row: row.suite)),
        evidence=tuple(row.evidence_sha for row in rows if row.evidence_sha),
    )  # fmt: skip
    return PackageEntry(candidate, meta)


def _count(row: CoverageRow) -> SuiteCount:
    status = row.status if row.status in ("kernel", "metadata", "vacuous") else "failed"
    return SuiteCount(
        suite=row.suite, passed=row.passed, total=row.tests, status=status,
        by_dtype=row.by_dtype, seed_set=() if row.seed is None else (row.seed,),
    )  # fmt: skip


def passing_kernels(place: CampaignPlace, config: CampaignConfig) -> list[PassingKernel]:
    """Return the modules of a campaign that count until now, to show related ones to a model."""
    with Ledger(place.ledger) as ledger:
        rows = ledger.coverage(
            config.operators(), "S", config.profile, run=place.name,
            most_per_dtype=config.most_per_type,
        ).rows  # fmt: skip
        return [
            passing_kernel(ledger.candidate(row.op_id, row.sha), (config.profile,))
            for row in rows
            if row.sha is not None and row.status in COUNTED
        ]


def curve(summaries: Iterable[tuple[str, int]]) -> list[int]:
    """Return how many operators count after each proposal per operator: place 0 after the first.

    Args:
        summaries: Status and number of proposals of each operator.
    """
    reached: list[int] = []
    for status, calls in summaries:
        if status not in COUNTED:
            continue
        while len(reached) < calls:
            reached.append(0)
        reached[calls - 1] += 1
    for place in range(1, len(reached)):
        reached[place] += reached[place - 1]
    return reached
