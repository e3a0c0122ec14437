"""Tracks of `loom bench kernels` that compare: states left out, other devices, peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from models.figures import BenchTable
from models.kernels.bench import run_operators, spread
from models.kernels.campaign import OperatorOptions
from models.kernels.execute import Zygote
from models.kernels.ledger import Headline, Ledger
from models.kernels.operators import OperatorSpec, select_operators
from models.kernels.peers.flaggems import peer_report
from models.kernels.peers.flaggems_shim import PeerMissingError
from models.kernels.peers.minimal import MinimalProposer
from models.kernels.propose import Proposer
from models.kernels.propose.synthesizer import forked_synthesizer
from models.kernels.session.config import SessionConfig

if TYPE_CHECKING:
    from flows.command.bench_kernels import Bench

_TARGETS = ("sm90", "gfx942")
ABLATIONS: dict[str, SessionConfig] = {
    "all states": SessionConfig(targets=_TARGETS),
    "no linter": SessionConfig(targets=_TARGETS, off=frozenset({"lint"})),
    "no compilers": SessionConfig(targets=()),
    "no audit": SessionConfig(targets=_TARGETS, off=frozenset({"audit"})),
    "no repair": SessionConfig(targets=_TARGETS, sessions=1, calls=1),
    "one repair": SessionConfig(targets=_TARGETS, sessions=1, calls=2),
}
"""What a campaign finds without a state; the final judgement is always the whole one."""


def _headline(
    bench: Bench, specs: Sequence[OperatorSpec], run: str, session: SessionConfig,
    make: Callable[[Zygote], Proposer], profile: str = "interpreter",
) -> tuple[Headline, int]:  # fmt: skip
    """Run sessions and return what the ledger counts, and the proposals that were made."""
    options = OperatorOptions(run=run, profile=profile, session=session,
                              most_per_dtype=bench.config.most_per_type)  # fmt: skip
    summaries = run_operators(specs, options, bench.ledger, bench.workers,
                              lambda words: bench.tell(f"{run}: {words}"), make)  # fmt: skip
    with Ledger(bench.ledger) as ledger:
        found = ledger.coverage(specs, profile=profile, run=run,
                                most_per_dtype=bench.config.most_per_type)  # fmt: skip
    return found.headline, sum(one.calls for one in summaries)


def ablation(bench: Bench) -> None:
    """Leave one state of the loop out at a time."""
    specs = spread(select_operators(bench.config.ops), bench.config.ablated)
    rows = []
    for name, session in ABLATIONS.items():
        found, calls = _headline(bench, specs, f"ablation {name}", session, forked_synthesizer)
        rows.append((name, found.operators, found.kernel, found.metadata + found.vacuous,
                     found.failed + found.missing, found.tests_passed, calls))  # fmt: skip
    bench.tables.append(BenchTable(
        "what the loop finds without a state (the final judgement is always whole)",
        ("left out", "operators", "kernel-backed", "metadata or empty", "failed", "tests passed",
         "proposals"), rows,
    ))  # fmt: skip
    bench.document["ablation"] = [list(row) for row in rows]


def dialects(bench: Bench) -> None:
    """Write the same operators for virtual devices: the profile changes, no rule does."""
    specs = spread(select_operators(bench.config.ops), bench.config.ablated)
    rows = []
    for name in ("interpreter", *bench.config.dialects):
        found, calls = _headline(
            bench, specs, f"dialect {name}", SessionConfig(), forked_synthesizer, name
        )
        counted = found.kernel + found.metadata + found.vacuous
        rows.append((name, found.operators, found.kernel, counted - found.kernel,
                     counted / found.operators, found.tests_passed, calls))  # fmt: skip
        bench.metrics[f"dialects/{name}"] = counted / found.operators
    bench.tables.append(BenchTable(
        "virtual devices (paper: 73.1 % on the next chip in QEMU)",
        ("profile", "operators", "kernel-backed", "metadata or empty", "share", "tests passed",
         "proposals"), rows,
    ))  # fmt: skip
    bench.document["dialects"] = [list(row) for row in rows]


def peers(bench: Bench) -> None:
    """Run the minimal synthesizer, and FlagGems where it is installed, on the same tests."""
    specs = select_operators(bench.config.ops)
    found, _ = _headline(
        bench,
        specs,
        "minimal",
        SessionConfig(sessions=1, calls=1),
        lambda zygote: MinimalProposer(),
    )
    rows = [("minimal synthesizer (one trace, one pointwise kernel)", found.operators,
             found.kernel, found.tests_passed, found.tests)]  # fmt: skip
    ours, _ = _headline(bench, specs, "bench", SessionConfig(targets=_TARGETS), forked_synthesizer)
    rows.append(("loomworks", ours.operators, ours.kernel, ours.tests_passed, ours.tests))
    try:
        bench.tell("FlagGems")
        peer = peer_report([spec.op_id for spec in specs], None, bench.config.most_per_type)
    except PeerMissingError as error:
        bench.notes.append(str(error))
    else:
        rows.append((
            "FlagGems (values only: where its wrappers call ATen is not held against it)",
            len(peer), sum(one.is_passing for one in peer), sum(one.passed for one in peer),
            sum(one.total for one in peer),
        ))  # fmt: skip
        bench.document["flaggems"] = [one.model_dump(mode="json") for one in peer]
    bench.tables.append(BenchTable(
        f"peers on the public tests of {bench.config.ops}",
        ("who", "operators", "all tests passed", "tests passed", "tests"), rows,
    ))  # fmt: skip
    bench.document["peers"] = [list(row) for row in rows]
