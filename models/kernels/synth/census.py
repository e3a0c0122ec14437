"""Which operators the rules serve: synthesise, lint and run each against ATen, by operator.

`python -m models.kernels.synth.census --ops paper --out census.json` prints a line per operator
and a table by rule. Each operator runs in a forked child with a CPU limit, in Triton's
interpreter with a device's arithmetic; the reference is ATen on the CPU in the same child, so
these figures steer the work on rules and are not the published coverage.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.kernels.operators import PAPER_DTYPES, OperatorSpec, select_operators


@dataclass(frozen=True)
class CensusRow:
    """What became of one operator."""

    op_id: str
    family: str
    status: str
    """passed, failed (some tests), unsupported (no module), broken, timeout."""
    total: int
    """Tests of the public suite in the types asked for."""
    passed: int
    programs: int = 0
    rules: tuple[str, ...] = ()
    lint: tuple[str, ...] = ()
    """Lint rules that the module breaks."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Tests by reason of failure."""
    synthesis_s: float = 0.0
    """CPU seconds to write the module."""
    run_s: float = 0.0
    """CPU seconds to run its tests."""
    source_bytes: int = 0


def _calls(spec: OperatorSpec, dtypes: Sequence[str], most: int | None) -> tuple[list[Any], list[Any]]:
    from models.kernels.samples.streams import stream, take
    from models.kernels.synth.calls import Call

    samples = [one for dtype in dtypes if dtype in spec.dtypes for one in take(stream(spec.op_id, "S", dtype), most)]
    return samples, [Call(one.function, one.args, one.kwargs) for one in samples]


def examine(spec: OperatorSpec, dtypes: Sequence[str], most: int | None, folder: Path, keep: Path | None) -> CensusRow:
    """Synthesise, lint and run one operator in this process, which must be warmed up.

    Args:
        spec: The operator.
        dtypes: Types of the tests.
        most: Tests per type at most; None: all.
        folder: Where the module is loaded from.
        keep: Where its text stays; None: nowhere.
    """
    from models.kernels.lint import lint_text
    from models.kernels.profiles import find_profile
    from models.kernels.synth.calls import serving_signature
    from models.kernels.synth.module import synthesize

    samples, calls = _calls(spec, dtypes, most)
    began = time.process_time()
    try:
        signature = serving_signature(spec.op_id, spec.schema_text, spec.overloads, calls)
        source, made = synthesize(signature, calls)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        return CensusRow(spec.op_id, spec.family, "unsupported", len(samples), 0, reasons={reason: len(samples)}, synthesis_s=time.process_time() - began)
    synthesis_s = time.process_time() - began
    if keep is not None:
        (keep / f"{spec.op_id}.txt").write_text(source, encoding="utf-8")
    report = lint_text(source, signature, find_profile("interpreter"))
    lint = tuple(sorted({one.rule for one in report.violations if one.severity == "error"}))
    began = time.process_time()
    passed, reasons = run_samples(spec.op_id, source, samples, folder)
    reasons.update({f"refused: {reason}": count for reason, count in made.refused.items()})
    is_whole = passed == len(samples) and not lint
    return CensusRow(
        spec.op_id, spec.family, "passed" if is_whole else "failed", len(samples), passed,
        len(made.programs), made.rules, lint, dict(reasons.most_common(4)), synthesis_s,
        time.process_time() - began, len(source),
    )


def run_samples(op_id: str, source: str, samples: Sequence[Any], folder: Path) -> tuple[int, Counter[str]]:
    """Run a module on samples; return how many equal ATen's results, and the failures."""
    from models.kernels.candidate import HEADER_LINES, KernelCandidate, load_module
    from models.kernels.execute.builder import STATE
    from models.kernels.execute.child import POISON, _once
    from models.kernels.execute.recorder import BlackBox, Recorder
    from models.kernels.samples.values import pack, unpack

    from models.kernels.operators.opinfo import entries_of
    from models.kernels.samples.values import pack, unpack

    candidate = KernelCandidate.of(op_id, source)
    entry = entries_of(op_id)[0]
    recorder = Recorder(BlackBox(), str(folder / f"generated_{candidate.sha[:24]}.py"), HEADER_LINES)
    STATE.recorder, STATE.align_bytes = recorder, 1
    module = load_module(candidate, folder)
    passed, reasons = 0, Counter[str]()
    for sample in samples:
        tree, block = pack((sample.args, sample.kwargs))
        request = {"tree": tree, "place": [0, len(block)], "form": "functional"}
        outcome, out = _once(module, request, bytes(block), recorder, POISON[0])
        if outcome["status"] != "ran":
            said = outcome.get("violations") or outcome.get("message", "")
            reasons[f"{outcome['status']}: {said}"[:220] + str(outcome.get("trace", ""))[-160:]] += 1
            continue
        said = differs(unpack(outcome["tree"], out), sample, entry)
        if said:
            reasons[f"wrong {sample.dtype}: {said}"[:260]] += 1
        else:
            passed += 1
    return passed, reasons


def differs(actual: Any, sample: Any, entry: Any) -> str:
    """Return how a result differs from ATen's under OpInfo's tolerances; empty: it does not.

    A half result may also equal what ATen computes in float32 and rounds once.
    """
    import torch

    from models.kernels.harness.tolerance import tolerance_of
    from models.kernels.samples.layouts import map_tensors

    def listed(value: Any) -> list[Any]:
        return list(value) if isinstance(value, list | tuple) else [value]

    def compared(expected: Any) -> str:
        got, wanted = listed(actual), listed(expected)
        if len(got) != len(wanted):
            return f"{len(got)} results, {len(wanted)} expected"
        for one, other in zip(got, wanted, strict=True):
            half = getattr(other, "dtype", None) or torch.float32
            rtol, atol = tolerance_of(entry, half) if half.is_floating_point else (0.0, 0.0)
            try:
                torch.testing.assert_close(one, other, rtol=rtol, atol=atol, equal_nan=True, check_stride=False)
            except AssertionError as error:
                return " ".join(str(error).split())
        return ""

    expected = sample.function(*sample.args, **sample.kwargs)
    said = compared(expected)
    if said and sample.dtype in ("float16", "bfloat16"):
        halves = (torch.float16, torch.bfloat16)

        def widened(tensor: Any) -> Any:
            return tensor.float() if tensor.dtype in halves else tensor

        args, kwargs = map_tensors((sample.args, sample.kwargs), widened)
        wide = listed(sample.function(*args, **kwargs))
        kinds = [one.dtype for one in listed(expected)]
        if not compared([one.to(kind) for one, kind in zip(wide, kinds, strict=True)]):
            return ""
    return said


def _forked(spec: OperatorSpec, options: argparse.Namespace, folder: Path) -> CensusRow:
    """Examine one operator in a child with a CPU limit."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        resource.setrlimit(resource.RLIMIT_CPU, (options.cpu_s, options.cpu_s + 1))
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
        try:
            row = examine(spec, options.dtypes, options.most, folder, options.keep)
        except BaseException as error:
            row = CensusRow(spec.op_id, spec.family, "broken", 0, 0, reasons={f"{type(error).__name__}: {error}"[:200]: 1})
        with os.fdopen(theirs, "w") as pipe:
            pipe.write(json.dumps(asdict(row)))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    total = sum(spec.tests_per_dtype.get(name, 0) for name in options.dtypes)
    if not text:
        signal_name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "no report"
        return CensusRow(spec.op_id, spec.family, "timeout", total, 0, reasons={signal_name: total})
    raw = json.loads(text)
    return CensusRow(**{**raw, "rules": tuple(raw["rules"]), "lint": tuple(raw["lint"])})


def warm_trace() -> None:
    """Import what tracing needs before children are forked (0.5 CPU seconds each otherwise)."""
    import torch

    from models.kernels.lint.signature import Signature
    from models.kernels.synth.calls import Call
    from models.kernels.synth.module import synthesize

    sample = Call(torch.softmax, (torch.ones(2, 3), 1), {})
    synthesize(Signature.parse("softmax(Tensor self, int dim) -> Tensor"), [sample])


def census(specs: Sequence[OperatorSpec], options: argparse.Namespace) -> Iterator[CensusRow]:
    """Yield a row per operator, as each ends."""
    from models.kernels.execute.warm import warm_up

    warm_up()
    # Tracing's failures are this command's findings; torch would log each with a traceback.
    logging.disable(logging.CRITICAL)
    warm_trace()
    with TemporaryDirectory(prefix="census-") as folder:
        for spec in specs:
            yield _forked(spec, options, Path(folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the census from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="paper", help="set, family or pattern of operators")
    parser.add_argument("--dtypes", default=",".join(PAPER_DTYPES), type=lambda text: text.split(","))
    parser.add_argument("--most", type=int, default=None, help="tests per type at most (development)")
    parser.add_argument("--cpu-s", type=int, default=60, help="CPU seconds per operator")
    parser.add_argument("--keep", type=Path, default=None, help="folder for the modules' texts")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    options = parser.parse_args(arguments)
    os.environ["TRITON_INTERPRET"] = "1"
    warnings.simplefilter("ignore")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    specs = select_operators(options.ops)
    rows = []
    for number, row in enumerate(census(specs, options), 1):
        rows.append(row)
        first = next(iter(row.reasons), "")
        print(
            f"{number}/{len(specs)} {row.status:11} {row.passed:4}/{row.total:<4} {row.op_id} "
            f"{row.synthesis_s + row.run_s:.1f}s {' '.join(row.lint)} {first[:110]}".rstrip(),
            flush=True,
        )
        if options.out is not None:
            options.out.write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n")
    print(summary(rows))
    return 0


def summary(rows: Sequence[CensusRow]) -> str:
    """Return operators by status, and those passing by the rules that wrote them."""
    by_status = Counter(row.status for row in rows)
    by_rule = Counter(rule for row in rows if row.status == "passed" for rule in row.rules)
    tests = sum(row.passed for row in rows)
    return "\n".join([
        f"{by_status['passed']} of {len(rows)} operators pass all their tests; {tests} of "
        f"{sum(row.total for row in rows)} tests",
        "status: " + ", ".join(f"{name} {count}" for name, count in by_status.most_common()),
        "passing operators by rule: " + ", ".join(f"{name} {count}" for name, count in by_rule.most_common()),
    ])


if __name__ == "__main__":
    sys.exit(main())
