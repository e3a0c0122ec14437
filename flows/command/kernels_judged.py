"""What `loom kernels` says of a module that somebody wrote: lint, tests, compilers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast, get_args

from rich.box import SIMPLE_HEAD
from rich.table import Table

from flows.command.kernels_shown import console, print_json
from models.errors import ConfigError, DatasetMissingError, unknown_name
from models.kernels.candidate import KernelCandidate
from models.kernels.forms import adapted
from models.kernels.harness import Harness, TestReport
from models.kernels.lint import LintReport, Signature, lint_candidate
from models.kernels.operators import find_operator
from models.kernels.profiles import find_profile
from models.kernels.samples.streams import Suite

FAILED = 1
_SHOWN_FAILURES = 5


def read_module(file: Path, op_id: str) -> KernelCandidate:
    """Read a module from a file.

    Raises:
        DatasetMissingError: There is no such file.
        UnknownNameError: There is no such operator.
    """
    find_operator(op_id)
    if not file.is_file():
        raise DatasetMissingError(f"no module at {file}; give a file with kernels and `wrapper`")
    # As it is: what no UTF-8 is becomes a lint violation, not an error of ours.
    source = file.read_bytes().decode("utf-8", "surrogateescape")
    return KernelCandidate.of(op_id, source, proposer="file")


def linted(candidate: KernelCandidate, profile: str) -> LintReport:
    """Lint a module against the signature that its operator's samples bind to."""
    spec = find_operator(candidate.op_id)
    return lint_candidate(
        candidate, Signature.parse(spec.schema_text), find_profile(profile),
        size_reads="reads_data" in spec.tags, dtypes=spec.dtypes,
    )  # fmt: skip


def lint_file(file: Path, op_id: str, profile: str, as_json: bool) -> int:
    """Print what the linter says of a file; returns the exit code."""
    report = linted(read_module(file, op_id), profile)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        print(report.text())
    return 0 if report.passed else FAILED


def test_file(
    file: Path, op_id: str, suite: str, seed: int, most: int | None, profile: str, as_json: bool
) -> int:
    """Lint a file and run it on a suite; returns the exit code.

    Raises:
        UnknownNameError: There is no such suite.
    """
    from models.kernels.execute.zygote import Zygote

    suites = [name for name in get_args(Suite) if name != "data"]
    if suite not in suites:
        raise unknown_name("suite", suite, suites)
    candidate = read_module(file, op_id)
    lint = linted(candidate, profile)
    out = console()
    if not lint.passed and not as_json:
        out.print(f"{lint.text()}\nrun all the same, behind walls:", highlight=False, markup=False)
    with Zygote() as zygote, out.status(f"testing {op_id} on {suite}"):
        harness = Harness(zygote)
        samples = harness.prepare(op_id, cast(Suite, suite), seed=seed, most_per_dtype=most)
        if suite == "V6":
            candidate = adapted(candidate, find_operator(op_id))
        report = harness.test(candidate, samples, find_profile(profile))
    if as_json:
        print_json({"lint": lint.model_dump(mode="json"), "test": report.model_dump(mode="json")})
    else:
        _print_report(report)
    return 0 if report.is_passing and lint.passed else FAILED


def _print_report(report: TestReport) -> None:
    out = console()
    table = Table(box=SIMPLE_HEAD)
    table.add_column("type", no_wrap=True)
    table.add_column("passed", justify="right")
    table.add_column("tests", justify="right")
    for name, (passed, total) in report.by_dtype.items():
        table.add_row(name, f"{passed:,}", f"{total:,}")
    out.print(table)
    cut = ", ".join(f"{count:,} {name}" for name, count in report.by_status.items())
    out.print(
        f"{report.op_id}, suite {report.suite}: {report.passed:,} of {report.total:,} tests ({cut})"
        f"; results are backed by: {report.coverage}; {report.cpu_s:.1f} CPU s",
        highlight=False, markup=False,
    )  # fmt: skip
    if report.passed_by_fp64:
        out.print(
            f"{report.passed_by_fp64:,} of these agree with ATen's float64 only, which its float32 "
            "misses; shares leave them out", highlight=False,
        )  # fmt: skip
    for reason, count in report.skipped.items():
        out.print(f"skipped {count:,}: {reason}", highlight=False, markup=False)
    failures = [one for one in report.outcomes
                if one.status not in ("passed", "skipped", "not_run")]  # fmt: skip
    for one in failures[:_SHOWN_FAILURES]:
        out.print(f"{one.status} {one.sample_id}: {one.message}", highlight=False, markup=False)
    if len(failures) > _SHOWN_FAILURES:
        out.print(f"and {len(failures) - _SHOWN_FAILURES:,} more; --json has all", highlight=False)


def compile_file(file: Path, op_id: str, targets: str, as_json: bool) -> int:
    """Compile a file's kernels as one test per structure launches them; returns the exit code.

    Raises:
        ConfigError: No kernel was launched, or a target has no compiler.
    """
    from models.kernels.compiler import CompilePool
    from models.kernels.execute.zygote import Zygote

    profiles = [find_profile(name.strip()) for name in targets.split(",")]
    candidate = read_module(file, op_id)
    out = console()
    with out.status(f"compiling {op_id}"), Zygote() as zygote, CompilePool() as pool:
        harness = Harness(zygote)
        report = harness.test(candidate, harness.prepare(op_id, most_per_dtype=8))
        if not report.launches:
            raise ConfigError(
                f"no test of {file} launched a kernel, so there is nothing to compile; see "
                f"loom kernels test {file} --op {op_id}"
            )
        results = pool.matrix(candidate, report.launches, profiles)
    if as_json:
        print_json([one.model_dump(mode="json") for one in results])
    else:
        for profile in profiles:
            mine = [one for one in results if one.profile == profile.name]
            failed = [one for one in mine if not one.ok]
            classes = Counter(one.error_class for one in failed)
            said = ", ".join(f"{count} {name}" for name, count in classes.items())
            out.print(f"{profile.name}: {len(mine) - len(failed):,} of {len(mine):,} kernels"
                      + (f" ({said})" if said else ""), highlight=False)  # fmt: skip
            for one in failed[:_SHOWN_FAILURES]:
                out.print(f"  {one.kernel}: {one.error_excerpt}", highlight=False, markup=False)
    return 0 if all(one.ok for one in results) else FAILED
