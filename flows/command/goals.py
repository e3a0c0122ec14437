"""What each room was to reach, in one table: `loom bench` says of each goal whether it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from models.figures import Goal

GOALS: dict[str, dict[str, Goal]] = {
    "kernels": {
        "all/unseen": Goal(
            "operators that pass seeds, layouts and shapes nobody saw, of those that pass the "
            "public tests", None, 0.95, beside="not measured in the paper",
        ),
        "targets/share": Goal(
            "passing kernels compiled for five GPU targets", None, 0.98, form="{:.4f}"
        ),
        "mutation/kill_rate": Goal("mutants killed", None, 0.95),
        "cheats/caught": Goal("cheats caught", None, 1.0),
        **{
            f"models/{name}/covered": Goal(f"{name}: operators covered by kernels", None, 1.0,
                                           beside="80 to 100 % in the paper")
            for name in ("gpt", "llama", "dlrm", "resnet18")
        },
    },
    "soak": {
        "runs/not_completed": Goal("runs that did not complete", None, 0, "<="),
        "processes/left": Goal("processes left behind", None, 0, "<="),
        **{
            f"memory/{name}": Goal(
                f"{name}: growth per hour in the second half, as a share", None, 0.05, "<="
            )
            for name in ("Prefect server", "MLflow server", "worker")
        },
    },
    "sharding": {
        "published/all/top_3": Goal("experts' layout among three", None, 0.90, beside="8 of 8"),
        "published/all/top_1": Goal("experts' layout first", None, 0.82, beside="7 of 8"),
        "published/non-trivial/top_1": Goal(
            "experts' layout first, where pure FSDP is not it", None, 0.60, beside="pure FSDP 0"
        ),
        "landscapes/top_3": Goal(
            "best of three over best measured", None, 0.955, beside="copying .955"
        ),
        "landscapes/top_1": Goal("first over best measured", None, 0.777, beside="copying .777"),
        "landscapes/failures": Goal("out of memory foreseen", None, 0.965, beside=".955 before"),
        "landscapes/spearman": Goal("rank correlation of times", None, 0.75, beside=".67 before"),
        "times/torus_dense": Goal("step times, dense on TPUs: mean error", None, 0.08, "<=",
                                  beside="constant .108"),
        "times/torus_moe": Goal("step times, MoE on TPUs: mean error", None, 0.18, "<=",
                                beside="constant .200, unlearned .166"),
        "diagnosis/top_1": Goal("injected bottlenecks named", None, 0.95),
        "plans/legal": Goal("proposals legal", None, 1.0, beside=".69 before"),
        "plans/compiled": Goal("proposals that compile", None, 1.0, beside=".69 before"),
        "plans/plan_cpu_s_max": Goal("plan without compiling, CPU s", None, 2.0, "<="),
    },
    "detection": {
        "sessions_f1": Goal("F1 on the public test part", None, 0.94),
        "sessions_false_alarms": Goal("false alarms on the public test part", None, 2, "<="),
        "adr_bench_f1": Goal("F1 on ADR-Bench replayed, blinded and grouped", None, 0.75),
        "adr_bench_alarms": Goal("false alarms there, of 261", None, 3, "<="),
        "recall_by_names": Goal("credentials of families left out, by their names", None, 0.95),
        "precision": Goal("precision of all credentials that are reported", None, 0.98),
        "benign_alarms": Goal("alarms of forms in benign source", None, 0, "<="),
        "hook_cpu_ms": Goal("hook, whole process, CPU ms", None, 150, "<="),
    },
    "platform": {
        "overhead_share": Goal("overhead of a tracked flow over its room", None, 1.0, "<=",
                               beside="1 is 3 % of the run, or 5 s"),
        "start/loom --help": Goal("`loom --help`, CPU s", None, 0.5, "<="),
    },
}  # fmt: skip
"""By benchmark and metric. Inference and agents keep theirs beside what they measure; upgrades has
none yet, and the shots of sharding stand in its table alone."""


def goals_of(room: str, metrics: Mapping[str, float | None]) -> tuple[Goal, ...]:
    """Return the goals of a benchmark with what was reached; those not measured stay open."""
    return tuple(replace(goal, reached=metrics.get(key)) for key, goal in GOALS[room].items())
