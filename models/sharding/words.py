"""Layouts as people write them: `fsdp=64 tensor=4 micro=2 full`."""

from __future__ import annotations

import re
from dataclasses import fields

from models.errors import ConfigError, unknown_name
from models.sharding.layout import REMATS, Layout

_SHORT = {
    "dp": "data",
    "tp": "tensor",
    "cp": "context",
    "sp": "context",
    "ep": "expert",
    "pp": "pipeline",
    "vp": "interleave",
    "micro": "micro_batch",
    "mbs": "micro_batch",
}
_SIZES = tuple(f.name for f in fields(Layout) if f.name != "remat")


def parse_layout(text: str) -> Layout:
    """Read a layout in words; what `Layout.text` writes comes back as it was.

    Sizes are `name=number`, apart by spaces or commas; the policy of recomputation stands alone
    or as `remat=NAME`; what is not named is 1 (ZeRO: 0, recomputation: full). Capitals are read
    as small letters.

    Raises:
        ConfigError: A word is none, a size is no number of 1 or more, or one is named twice.
        UnknownNameError: A name that no layout has; the nearest is named.
    """
    sizes: dict[str, int] = {}
    remat = None
    for word in re.split(r"[\s,;]+", text.strip().lower().replace("one chip", "")):
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        policy = value if name == "remat" else word
        if not word:
            continue
        if policy in REMATS and remat is None:
            remat = policy
        elif policy in REMATS:
            raise ConfigError(f"recomputation is {remat} and {policy}; write one of them")
        elif name == "remat" or (not equals and name not in _SIZES):
            raise unknown_name("policy of recomputation or size", policy, list(REMATS))
        elif name not in _SIZES:
            raise unknown_name("size of a layout", name, list(_SIZES))
        elif name in sizes or not re.fullmatch(r"[0-9]{1,7}", value):
            raise ConfigError(
                f"{word!r} is no size of a layout, or the second of its name; write each once, "
                "such as fsdp=64 tensor=4 micro=2 full"
            )
        else:
            sizes[name] = int(value)
    if sizes.get("zero", 0) > 1:
        raise ConfigError(
            f"zero={sizes['zero']}: zero=1 splits the optimizer over data, what more is split is "
            "fsdp (ZeRO-3); write zero=1, or fsdp in place of data"
        )
    layout = Layout(**sizes, remat=remat or "full")
    if low := [name for name, size in sizes.items() if size < (name != "zero")]:
        raise ConfigError(f"sizes must be 1 or more, got 0 for {', '.join(low)}; leave them out")
    return layout
