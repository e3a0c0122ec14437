"""What a device refuses of a kernel, read off Triton's IR: doubles, atomics, blocks, products."""

from __future__ import annotations

import re

from models.kernels.profiles import DeviceProfile

_TYPES = {
    "int8": "i8", "int32": "i32", "int64": "i64", "float16": "f16", "bfloat16": "bf16",
    "float32": "f32", "float64": "f64", "float8_e4m3fn": "f8E4M3FN", "float8_e5m2": "f8E5M2",
}  # fmt: skip


def refusals(ttir: str, profile: DeviceProfile) -> list[str]:
    """Return what a profile does not offer of the operations in a kernel's IR.

    Args:
        ttir: Triton IR as text.
        profile: The device.
    """
    found = []
    if not profile.features.fp64 and (line := _first(ttir, r"f64\b")):
        found.append(f"double precision, which {profile.name} has not: {line}")
    atomics = {_TYPES[name] for name in profile.features.atomics if name in _TYPES}
    for match in re.finditer(r"^.*tt\.atomic_(?:rmw|cas).*$", ttir, re.MULTILINE):
        held = match[0].rsplit("->", 1)[-1]
        kind = re.search(r"(?:x|^|\s)((?:b?f|i)\d+\w*)>?", held)
        if kind is None or kind[1] not in atomics:
            found.append(f"an atomic that {profile.name} has not: {match[0].strip()[:160]}")
            break
    dots = {_TYPES[name] for name in profile.features.dot_dtypes}
    for match in re.finditer(r"tt\.dot.*?: tensor<[\dx]+x(\w+)>", ttir):
        if match[1] not in dots:
            found.append(f"a product of {match[1]}, which {profile.name} has not")
            break
    largest = max(
        (_elements(shape) for shape in re.findall(r"tensor<((?:\d+x)+)", ttir)), default=0
    )
    if largest > profile.max_numel:
        found.append(
            f"a block of {largest} elements, at most {profile.max_numel} on {profile.name}"
        )
    if not profile.features.scatter and (line := _scatter(ttir)):
        found.append(f"a store to loaded addresses, which {profile.name} has not: {line}")
    return found


def _first(text: str, pattern: str) -> str:
    for line in text.split("\n"):
        if re.search(pattern, line) and not line.strip().startswith("#"):
            return line.strip()[:160]
    return ""


def _elements(shape: str) -> int:
    total = 1
    for size in shape.rstrip("x").split("x"):
        total *= int(size)
    return total


def _scatter(ttir: str) -> str:
    """Return a store whose address depends on a load; empty: there is none."""
    tainted: set[str] = set()
    for line in ttir.split("\n"):
        names = re.findall(r"%[\w.#]+", line)
        made, _, rest = line.partition("=")
        used = set(re.findall(r"%[\w.]+", rest))
        if "tt.store" in line:
            target = re.search(r"tt\.store\s+(%[\w.]+)", line)
            if target and target[1] in tainted:
                return line.strip()[:160]
        elif names and "=" in line and ("tt.load" in rest or used & tainted):
            tainted |= set(re.findall(r"%[\w.]+", made))
    return ""
