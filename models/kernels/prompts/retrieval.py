"""Passing kernels of related operators, to show beside the hand-made examples."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from models.errors import ConfigError, ProjectError
from models.kernels.candidate import KernelCandidate
from models.kernels.lint.signature import Signature
from models.kernels.operators import OperatorSpec, find_operator
from models.kernels.profiles import DeviceProfile

MOST_SOURCE = 6_000
"""Characters of a module worth showing; a longer one teaches less than it costs."""


@dataclass(frozen=True)
class PassingKernel:
    """A module that passed all its tests, and what makes it comparable."""

    op_id: str
    family: str
    signature: str
    """Schema that its wrapper follows."""
    source: str
    targets: frozenset[str] = frozenset()
    """Device profiles that it compiled for or ran on."""


def passing_kernel(candidate: KernelCandidate, targets: Iterable[str] = ()) -> PassingKernel:
    """Describe a candidate that a ledger or a package says has passed.

    Args:
        candidate: The module; its policy may name the signature it was written for.
        targets: Device profiles that it compiled for or ran on.

    Raises:
        UnknownNameError: Its operator is not in the catalogue.
    """
    spec = find_operator(candidate.op_id)
    return PassingKernel(
        candidate.op_id,
        spec.family,
        str(policy_of(candidate).get("signature", spec.schema_text)),
        candidate.source.strip(),
        frozenset(targets),
    )


def policy_of(candidate: KernelCandidate) -> dict[str, object]:
    """Return the choices recorded with a candidate; empty where they are no JSON object."""
    try:
        policy = json.loads(candidate.policy or "{}")
    except ValueError:
        return {}
    return policy if isinstance(policy, dict) else {}


def related_kernels(
    spec: OperatorSpec,
    signature: Signature,
    profile: DeviceProfile,
    passing: Iterable[PassingKernel],
    most: int = 2,
    excluded: Collection[str] = (),
) -> list[PassingKernel]:
    """Return the most related modules, best first.

    Points: 3 for the same family, 3 when the documentation cites the operator, up to 2 for the
    share of equal parameters, 1 for the device. Only those with family or citation in common
    are shown; of equal points the shorter module wins.

    Args:
        spec: The operator to write, with its documentation where that is known.
        signature: Its signature.
        profile: The device to write for.
        passing: Modules to choose from.
        most: Modules to return.
        excluded: Operators never shown, such as those held out; `spec` itself always is.

    Raises:
        ConfigError: `most` is negative.
    """
    if most < 0:
        raise ConfigError(f"most is {most}; give 0 or more related modules")
    cited = {name.rpartition(".")[2] for name in spec.nested_docs}
    wanted = _parameters(signature)
    scored = []
    for one in passing:
        is_own = one.op_id == spec.op_id or one.op_id in excluded
        if is_own or len(one.source) > MOST_SOURCE:
            continue
        kin = 3.0 * (one.family == spec.family)
        kin += 3.0 * (one.op_id.rpartition(".")[2] in cited)
        if not kin:
            continue
        try:
            found = _parameters(Signature.parse(one.signature))
        except ProjectError:
            continue
        union = wanted | found
        likeness = 2.0 * len(wanted & found) / len(union) if union else 0.0
        points = kin + likeness + (profile.name in one.targets)
        scored.append((-points, len(one.source), one.op_id, one))
    return [one for *_, one in sorted(scored, key=lambda row: row[:3])[:most]]


def _parameters(signature: Signature) -> set[tuple[str, tuple[str, ...], bool]]:
    return {
        ("input" if place == 0 else one.name, one.types, one.is_list)
        for place, one in enumerate(signature.parameters)
    }
