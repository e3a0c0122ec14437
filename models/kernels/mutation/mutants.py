"""A choice of mutants: by seed, kinds in turn, no text twice."""

from __future__ import annotations

import ast
import random
from collections import defaultdict

from models.config import Config
from models.kernels.candidate import KernelCandidate
from models.kernels.mutation.sites import KINDS, Site, sites_of


class Mutant(Config):
    """A passing module with one wrong change."""

    candidate: KernelCandidate
    """The changed module; its `parent_sha` is the original."""
    kind: str
    """Kind of the change, of `KINDS`."""
    function: str
    """Kernel or function of the wrapper that was changed."""
    line: int
    """Line of the author's text."""
    before: str
    """The line as it was."""
    after: str
    """The line as it is."""


def mutants_of(
    candidate: KernelCandidate, most: int, seed: int, launched: frozenset[str]
) -> tuple[Mutant, ...]:
    """Choose mutants of a module: kinds in turn, sites of a kind by lot; equal arguments, equal
    mutants.

    Args:
        candidate: A module that passes its tests.
        most: Mutants at most.
        seed: Seed of the choice.
        launched: Kernels that its tests launch; see `sites_of`.
    """
    by_kind: dict[str, list[Site]] = defaultdict(list)
    for site in sites_of(candidate.source, launched):
        by_kind[site.kind].append(site)
    lot = random.Random(f"{seed}:{candidate.sha}")
    for sites in by_kind.values():
        lot.shuffle(sites)
    turns = [kind for kind in KINDS if by_kind[kind]]
    lot.shuffle(turns)
    seen = {ast.dump(ast.parse(candidate.source))}
    chosen: list[Mutant] = []
    while turns and len(chosen) < most:
        for kind in list(turns):
            mutant = _next(candidate, by_kind[kind], seen)
            if mutant is None:
                turns.remove(kind)
            elif len(chosen) < most:
                chosen.append(mutant)
    return tuple(chosen)


def _next(candidate: KernelCandidate, sites: list[Site], seen: set[str]) -> Mutant | None:
    """Return the next site's mutant whose program is a new one."""
    while sites:
        site = sites.pop()
        text = site.applied(candidate.source)
        try:
            program = ast.dump(ast.parse(text))
        except SyntaxError:
            continue
        if program in seen:
            continue
        seen.add(program)
        changed = KernelCandidate.of(
            candidate.op_id, text, proposer="mutation", parent_sha=candidate.sha,
            mode=candidate.mode, depends_on=candidate.depends_on, policy=site.kind,
        )  # fmt: skip
        line = site.line - 1
        return Mutant(
            candidate=changed, kind=site.kind, function=site.function, line=site.line,
            before=candidate.source.splitlines()[line].strip(),
            after=text.splitlines()[line].strip(),
        )  # fmt: skip
    return None
