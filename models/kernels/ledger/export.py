"""Coverage as files for others: JSON for programs, Parquet for tables."""

from __future__ import annotations

import json
from pathlib import Path

from models.kernels.ledger.rows import Coverage


def as_dict(coverage: Coverage) -> dict[str, object]:
    """Return rows and figures as JSON values."""
    return {
        **coverage.model_dump(mode="json"),
        "headline": coverage.headline.model_dump(),
        "by_family": {name: one.model_dump() for name, one in coverage.by_family.items()},
        "by_rule": coverage.by_rule,
        "hand_written": list(coverage.hand_written),
    }


def write_json(coverage: Coverage, file: Path) -> None:
    """Write rows and figures as JSON."""
    file.write_text(json.dumps(as_dict(coverage), indent=1) + "\n", encoding="utf-8")


def write_parquet(coverage: Coverage, file: Path) -> None:
    """Write one line per operator; what is a mapping in a row is JSON text in its column."""
    import pyarrow
    import pyarrow.parquet

    lines = []
    for row in coverage.rows:
        fields = row.model_dump(mode="json")
        lines.append({
            name: json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
            for name, value in fields.items()
        })  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines), file)
