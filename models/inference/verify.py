"""An independent check of a plan: everything is recomputed from prompts and definitions.

Shares no code with the planner but the plan's types; plain Python, about 15 us per row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.inference.loads import RowLoads
from models.inference.plan import Plan
from models.inference.token_table import TokenTable
from models.inference.verify_steps import play_plan

Rule = Literal["inputs", "rows", "prefix", "parents", "lifetimes", "shards", "budget", "totals"]
_MOST = 100


@dataclass(frozen=True)
class PlanViolation:
    """One rule that a plan breaks.

    Attributes:
        rule: inputs (other prompts or loads), rows (each prompt once), prefix (members begin
            with it and keep a token), parents (earlier, shorter, equal as far as they go),
            lifetimes (closes where the last copy begins), shards (ranges, whole trees),
            budget (recounted peak), totals (tokens, steps, seconds).
        message: What is wrong, where.
    """

    rule: Rule
    message: str


def verify_plan(
    plan: Plan,
    prompts: TokenTable,
    loads: RowLoads,
    todo: NDArray[np.int64] | None = None,
) -> list[PlanViolation]:
    """Return what is wrong with a plan, at most 100 violations per rule; empty: nothing.

    Args:
        plan: The plan.
        prompts: Token table that it was made for.
        loads: Outputs, tenants and kinds that it was made for.
        todo: Prompts that it must run; None: all.
    """
    found: list[PlanViolation] = []
    counts: dict[str, int] = defaultdict(int)

    def report(rule: Rule, message: str) -> None:
        counts[rule] += 1
        if counts[rule] <= _MOST:
            found.append(PlanViolation(rule, message))

    if plan.tokens_digest != prompts.digest:
        report("inputs", "the plan was made for other prompts")
    if plan.loads_digest != loads.digest:
        report("inputs", "the plan was made for other outputs, tenants or kinds")
    todo = np.arange(len(prompts)) if todo is None else todo
    checker = _Checker(plan, prompts, loads, todo, report)
    if checker.check_ranges() and checker.check_rows():
        checker.check_prefixes()
        checker.check_lifetimes()
        checker.check_totals()
        checker.check_budget()
    return found


class _Checker:
    def __init__(
        self,
        plan: Plan,
        prompts: TokenTable,
        loads: RowLoads,
        todo: NDArray[np.int64],
        report: Callable[[Rule, str], None],
    ) -> None:
        self.plan, self.prompts, self.loads, self.report = plan, prompts, loads, report
        self.todo = todo
        self.prefix = plan.groups.prefix_tokens.tolist()
        self.parent = plan.groups.parent.tolist()
        self.first = plan.groups.first_row.tolist()
        self.size = plan.groups.n_rows.tolist()
        self.prompt = plan.rows.prompt.tolist()

    def check_ranges(self) -> bool:
        """Tables fit together: member ranges, shard ranges, parents in range."""
        plan, sound, at = self.plan, True, 0
        for group, (first, size) in enumerate(zip(self.first, self.size, strict=True)):
            if first != at or size < 0:
                self.report("rows", f"group {group} begins at row {first}, not at {at}")
                sound = False
            at += size
        if at != plan.n_rows:
            self.report("rows", f"groups have {at} rows, the plan {plan.n_rows}")
            sound = False
        group_at, row_at = 0, 0
        for number, shard in enumerate(plan.shards):
            begins = shard.first_group == group_at and shard.first_row == row_at
            rows = sum(self.size[shard.first_group : shard.end_group])
            if not begins or rows != shard.end_row - shard.first_row:
                self.report("shards", f"shard {number} does not follow the one before")
                sound = False
            if (plan.groups.shard[shard.first_group : shard.end_group] != number).any():
                self.report("shards", f"shard {number} holds groups of another one")
                sound = False
            group_at, row_at = shard.end_group, shard.end_row
        if (group_at, row_at) != (plan.n_groups, plan.n_rows):
            self.report("shards", "shards do not cover all groups and rows")
            sound = False
        for group, parent in enumerate(self.parent):
            if parent >= group or parent < -1:
                self.report("parents", f"group {group} copies from {parent}, which runs later")
                sound = False
            elif parent >= 0 and plan.groups.shard[parent] != plan.groups.shard[group]:
                self.report("shards", f"group {group} copies from a group of another shard")
                sound = False
        return sound

    def check_rows(self) -> bool:
        """Every prompt runs once, or repeats one that runs and is equal to it."""
        n, plan = len(self.prompts), self.plan
        sound = True
        seen = [0] * n
        twins = list(
            zip(plan.duplicates.prompt.tolist(), plan.duplicates.source.tolist(), strict=True)
        )
        for prompt in self.prompt + [twin for twin, _ in twins]:
            if not 0 <= prompt < n:
                self.report("rows", f"prompt {prompt} does not exist")
                return False
            seen[prompt] += 1
        wanted = [0] * n
        for prompt in self.todo.tolist():
            wanted[prompt] = 1
        for prompt, times in enumerate(seen):
            if times != wanted[prompt]:
                self.report("rows", f"prompt {prompt} runs {times} times")
                sound = False
        runs = set(self.prompt)
        kinds, tenants = self.loads.kinds, self.loads.tenants
        for twin, source in twins:
            if source not in runs:
                self.report("rows", f"prompt {twin} repeats {source}, which does not run")
                continue
            if kinds[twin] < 0 or kinds[twin] != kinds[source] or tenants[twin] != tenants[source]:
                self.report("rows", f"prompt {twin} may not share the result of {source}")
            if not np.array_equal(self.prompts[twin], self.prompts[source]):
                self.report("rows", f"prompt {twin} is not equal to {source}")
        loads = self.loads
        for given, said, asked in (
            ("output", plan.rows.output_tokens, loads.remaining),
            ("forks", plan.rows.forks, loads.forks),
        ):
            if (said != asked[plan.rows.prompt]).any():
                self.report("inputs", f"{given} of a row is not what the loads say")
        return sound

    def check_prefixes(self) -> None:
        """Members begin with their group's prefix, prefixes with their parent's."""
        for group, tokens in enumerate(self.prefix):
            source = int(self.plan.groups.prefix_row[group])
            parent = self.parent[group]
            if tokens == 0:
                if parent >= 0 or source >= 0:
                    self.report("prefix", f"group {group} has no prefix, but a source or parent")
                continue
            if not 0 <= source < len(self.prompts) or len(self.prompts[source]) < tokens:
                self.report("prefix", f"group {group}: prompt {source} does not hold its prefix")
                continue
            ids, tenant = self.prompts[source][:tokens], self.loads.tenants[source]
            members = self.prompt[self.first[group] : self.first[group] + self.size[group]]
            for prompt in members:
                own = self.prompts[prompt]
                if len(own) <= tokens or not np.array_equal(own[:tokens], ids):
                    self.report("prefix", f"prompt {prompt} does not begin with group {group}'s")
                if self.loads.tenants[prompt] != tenant:
                    self.report("prefix", f"prompt {prompt} shares with another tenant")
            if parent >= 0:
                held = self.prefix[parent]
                above = int(self.plan.groups.prefix_row[parent])
                is_part = 0 < held < tokens and above >= 0
                if not is_part or not np.array_equal(self.prompts[above][:held], ids[:held]):
                    self.report("parents", f"group {group} does not extend its parent {parent}")
                elif self.loads.tenants[above] != tenant:
                    self.report("parents", f"group {group} copies from another tenant")

    def check_lifetimes(self) -> None:
        """A prefix closes where the last copy of it begins; trees run without gaps."""
        closes = list(range(len(self.prefix)))
        open_chain: list[int] = []
        for group, parent in enumerate(self.parent):
            if parent >= 0:
                closes[parent] = max(closes[parent], group)
            # Depth first: the parent is on the path to the group before.
            while open_chain and open_chain[-1] != parent:
                open_chain.pop()
            if parent >= 0 and not open_chain:
                self.report("lifetimes", f"group {group} runs outside its parent's subtree")
            open_chain.append(group)
        for group, (said, right) in enumerate(
            zip(self.plan.groups.closes.tolist(), closes, strict=True)
        ):
            if said != right:
                self.report("lifetimes", f"group {group} closes at {said}, it must at {right}")

    def check_totals(self) -> None:
        """Tokens of the statistics, recounted without the planner's order or tree."""
        plan = self.plan
        computed, carried = 0, self.loads.carried
        for group, tokens in enumerate(self.prefix):
            parent = self.parent[group]
            computed += tokens - (self.prefix[parent] if parent >= 0 else 0)
            for row in range(self.first[group], self.first[group] + self.size[group]):
                prompt = self.prompt[row]
                computed += len(self.prompts[prompt]) + int(carried[prompt]) - tokens
        if plan.stats.planned != computed:
            self.report("totals", f"the plan computes {computed} tokens, not {plan.stats.planned}")
        logical = sum(len(self.prompts[prompt]) for prompt in self.todo.tolist())
        if plan.stats.logical != logical:
            self.report("totals", f"prompts have {logical} tokens")
        if not (
            plan.stats.optimal
            <= plan.stats.single_level
            <= plan.stats.enlarged
            <= plan.stats.logical
        ):
            self.report("totals", "optimal <= single level <= enlarged <= logical does not hold")

    def check_budget(self) -> None:
        """Peak and steps of every shard, played event by event from the definitions."""
        for number, shard in enumerate(self.plan.shards):
            own = self.prompts.lengths + self.loads.carried
            played = play_plan(self.plan, own, shard.first_group, shard.end_group)
            if played is None:
                self.report(
                    "budget", f"shard {number} cannot run in {self.plan.budget.tokens} tokens"
                )
                continue
            steps, peak = played
            if peak > self.plan.budget.tokens:
                self.report("budget", f"shard {number} needs {peak} KV tokens")
            if peak != shard.predicted_peak_tokens or steps != shard.steps:
                self.report(
                    "totals",
                    f"shard {number} takes {steps} steps and {peak} KV tokens, the plan says "
                    f"{shard.steps} and {shard.predicted_peak_tokens}",
                )
