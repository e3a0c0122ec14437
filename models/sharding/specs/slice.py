"""Chips as a torus (tpu) or as NVLink domains (gpu), and mesh axes laid onto them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from pathlib import Path

from models.errors import ConfigError
from models.sharding.specs.chip import SHIPPED, ChipSpec, find_chip, load_chips

MOST_CHIPS = 2**20
"""Chips of a slice, over all pods; the largest published job has an eighth of this."""
MOST_PODS = 2**16
"""Pods that the network joins."""
_MOST_SHOWN = 60
_SMALL_2D = ((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16))
_SMALL_3D = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 4), (2, 4, 4))


@dataclass(frozen=True)
class AxisLinks:
    """What carries the collectives of one mesh axis."""

    bytes_per_s: float
    """Bandwidth of a ring collective per chip: both directions of each torus dimension."""
    hops: float
    """Links that a byte crosses at the worst, summed over the dimensions."""


@dataclass(frozen=True)
class Slice:
    """Chips that one job gets; several tori of the same shape joined by the network if `pods` > 1.

    Raises:
        ConfigError: The chip does not come in this shape; the nearest shapes are named.
    """

    chip: ChipSpec
    shape: tuple[int, ...]
    pods: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.pods <= MOST_PODS:
            raise ConfigError(
                f"a slice has 1 to {MOST_PODS} pods, got pods={_short(str(self.pods))}; give 1"
            )
        if self.chips > MOST_CHIPS:
            raise ConfigError(
                f"{_short(self.text())} has more than {MOST_CHIPS} chips over {self.pods} pod(s), "
                "the most that is planned for; give fewer"
            )
        offered = shapes(self.chip) if self.chip.kind == "tpu" else None
        if offered is None:
            if len(self.shape) != 1 or self.shape[0] < 1:
                raise ConfigError(
                    f"{self.chip.name} takes a number of GPUs, 1 or more, got "
                    f"{'x'.join(map(str, self.shape))}; write for example {self.chip.name}:64"
                )
        elif tuple(sorted(self.shape)) not in offered:
            asked = math.prod(self.shape)
            near = sorted(offered, key=lambda s: (abs(math.log(math.prod(s) / max(asked, 0.5))), s))
            names = ", ".join("x".join(map(str, shape)) for shape in near[:3])
            raise ConfigError(
                f"{self.chip.name} comes in no slice {'x'.join(map(str, self.shape))} "
                f"({self.chip.torus_dims} dimensions, pod {'x'.join(map(str, self.chip.pod))}); "
                f"nearest: {names}"
            )

    @classmethod
    def parse(cls, text: str, pods: int = 1, chips: Path = SHIPPED) -> Slice:
        """Read `v6e:16x16` or `h100:64`, the chip from a table of chips.

        Raises:
            UnknownNameError: No such chip.
            ConfigError: No such shape, or not of this form.
        """
        name, sign, shape = text.partition(":")
        parts = [part.strip() for part in shape.lower().split("x")]
        is_shape = len(parts) <= 3 and all(part.isascii() and part.isdigit() for part in parts)
        if not sign or not is_shape:
            raise ConfigError(
                f"a slice is written chip:shape, got '{_short(text)}'; for example v6e:16x16 or "
                "h100:64"
            )
        # Before they become numbers: Python refuses to read thousands of digits.
        parts = [part.lstrip("0") or "0" for part in parts]
        if max(len(part) for part in parts) > len(str(MOST_CHIPS)):
            raise ConfigError(
                f"{_short(text)} has more than {MOST_CHIPS} chips, the most that is planned for; "
                "give fewer"
            )
        return cls(find_chip(name, chips), tuple(int(part) for part in parts), pods)

    @classmethod
    def of_count(cls, chip: ChipSpec, chips: int) -> Slice:
        """Return the slice of a number of chips, the most cubic shape; several pods if needed.

        Raises:
            ConfigError: The chip does not come in this number; the nearest shapes are named.
        """
        if chip.kind == "gpu":
            return cls(chip, (chips,))
        offered = shapes(chip)
        fits = [shape for shape in offered if math.prod(shape) == chips]
        if fits:
            return cls(chip, min(fits, key=lambda shape: (max(shape) - min(shape), shape)))
        pod = math.prod(chip.pod)
        if chips > pod and chips % pod == 0:
            return cls(chip, chip.pod, chips // pod)
        return cls(chip, (chips,))

    @property
    def chips(self) -> int:
        """Number of chips, over all pods."""
        return math.prod(self.shape) * self.pods

    def wraps(self, dimension: int) -> bool:
        """Whether a dimension of the torus is a ring rather than a line.

        v5e and v6e close at 16; 3D chips close dimensions that 4 divides, from 4x4x4 up.
        """
        if self.chip.kind == "gpu":
            return True
        if self.chip.torus_dims == 3 and min(self.shape) < self.chip.wrap_multiple:
            return False
        return self.shape[dimension] % self.chip.wrap_multiple == 0

    def text(self) -> str:
        """Return `chip:shape`."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    def lay(self, sizes: tuple[int, ...]) -> tuple[AxisLinks, ...]:
        """Lay mesh axes onto the chips, the innermost (busiest) first.

        Args:
            sizes: Sizes of the mesh axes, busiest first; their product divides the chips of a pod.

        Returns:
            Bandwidth and hops of each axis; infinite bandwidth for an axis of size 1. On a torus
            an axis takes whole dimensions where their product fits, else a part of one, which
            is a line and no ring.
        """
        return _lay(self, sizes)


@lru_cache(maxsize=64)
def shapes(chip: ChipSpec) -> frozenset[tuple[int, ...]]:
    """Return the slice shapes of a torus chip, dimensions rising.

    Shipped chips come in what their maker offers. A chip of one's own comes in all powers of two
    up to its pod, in the whole pod and, in three dimensions, in multiples of 4.
    """
    pod = tuple(sorted(chip.pod))
    fours = _rising([range(4, side + 1, 4) for side in pod]) if len(pod) == 3 else set()
    shipped = load_chips().get(chip.name)
    if shipped is not None and shipped.pod == chip.pod:
        if len(pod) == 3:
            return frozenset(fours.union(_SMALL_3D))
        return frozenset(s for s in _SMALL_2D if s[0] <= pod[0] and s[1] <= pod[1])
    powers = _rising([[2**i for i in range(side.bit_length())] for side in pod])
    return frozenset(fours | powers | {pod})


def _rising(sides: Sequence[Sequence[int]]) -> set[tuple[int, ...]]:
    """Return the shapes of these sides whose dimensions do not fall."""
    return {shape for shape in product(*sides) if list(shape) == sorted(shape)}


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


@lru_cache(maxsize=65_536)
def _lay(place: Slice, sizes: tuple[int, ...]) -> tuple[AxisLinks, ...]:
    if place.chip.kind == "gpu":
        return _lay_domains(place.chip, sizes)
    free = [(size, place.wraps(i)) for i, size in enumerate(place.shape) if size > 1]
    links = []
    for size in sizes:
        taken, free = _take(size, free)
        rates = [2 * place.chip.link_bytes_per_s * (1.0 if ring else 0.5) for _, ring in taken]
        hops = sum(n / 2 if ring else n for n, ring in taken)
        links.append(AxisLinks(sum(rates) if taken else math.inf, hops))
    return tuple(links)


def _take(
    size: int, free: list[tuple[int, bool]]
) -> tuple[list[tuple[int, bool]], list[tuple[int, bool]]]:
    """Take dimensions for an axis: whole ones that multiply to it, else a share of others."""
    if size == 1:
        return [], free
    for count in range(1, len(free) + 1):
        for picked in combinations(range(len(free)), count):
            if math.prod(free[i][0] for i in picked) == size:
                rest = [dim for i, dim in enumerate(free) if i not in picked]
                return [free[i] for i in picked], rest
    taken, rest, left = [], [], size
    for length, ring in sorted(free, reverse=True):
        share = math.gcd(left, length)
        left //= share
        if share > 1:
            taken.append((share, ring and share == length))
        if length // share > 1:
            rest.append((length // share, ring and share == 1))
    return taken, rest


def _lay_domains(chip: ChipSpec, sizes: tuple[int, ...]) -> tuple[AxisLinks, ...]:
    """Lay axes over NVLink domains: an axis that leaves a domain uses all its members' NICs."""
    links, inner = [], 1
    for size in sizes:
        members = max(1, min(size, chip.domain // inner)) if inner <= chip.domain else 1
        if size == 1:
            links.append(AxisLinks(math.inf, 0.0))
        elif inner * size <= chip.domain:
            links.append(AxisLinks(chip.link_bytes_per_s, float(size)))
        else:
            # A ring over domains enters and leaves each once, over every member's NIC.
            rate = min(chip.link_bytes_per_s, chip.network_bytes_per_s * members)
            links.append(AxisLinks(rate, float(size)))
        inner *= size
    return tuple(links)
