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
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from models.kernels.operators import PAPER_DTYPES, OperatorSpec, select_operators
from models.kernels.synth.examine import CensusRow, examine


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
            row = CensusRow(
                spec.op_id,
                spec.family,
                "broken",
                0,
                0,
                reasons={f"{type(error).__name__}: {error}"[:200]: 1},
            )
        with os.fdopen(theirs, "w") as pipe:
            pipe.write(json.dumps(asdict(row)))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    total = sum(spec.tests_per_dtype.get(name, 0) for name in options.dtypes)
    if not text:
        signal_name = (
            signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "no report"
        )
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ops", default="paper", help="set, family or pattern of operators")
    parser.add_argument(
        "--dtypes", default=",".join(PAPER_DTYPES), type=lambda text: text.split(",")
    )
    parser.add_argument(
        "--most", type=int, default=None, help="tests per type at most (development)"
    )
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
    return "\n".join(
        [
            f"{by_status['passed']} of {len(rows)} operators pass all their tests; {tests} of "
            f"{sum(row.total for row in rows)} tests",
            "status: " + ", ".join(f"{name} {count}" for name, count in by_status.most_common()),
            "passing operators by rule: "
            + ", ".join(f"{name} {count}" for name, count in by_rule.most_common()),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
