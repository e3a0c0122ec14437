"""Make the snapshot of the catalogue again: `python -m models.kernels.operators.snapshot`.

Takes some CPU minutes. Prints the figures of the sets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from models.kernels.operators.catalogue import SNAPSHOT, write_snapshot
from models.kernels.operators.opinfo import derive, operator_entries


def make_snapshot(path: Path) -> str:
    """Derive every operator from OpInfo, write the file, and return the figures in words."""
    specs = [derive(name, entries) for name, entries in operator_entries().items()]
    write_snapshot(specs, path)
    tested = [spec for spec in specs if spec.tests]
    below = [spec for spec in tested if spec.tests < 900]
    paper = [spec for spec in tested if spec.exclusion is None]
    return (
        f"{len(specs)} names, {len(tested)} with a test in the paper's types "
        f"({sum(spec.tests for spec in tested):,} tests); below 900 tests: {len(below)} "
        f"({sum(spec.tests for spec in below):,}); paper-like set: {len(paper)} "
        f"({sum(spec.tests for spec in paper):,})"
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SNAPSHOT, help="CSV file to write")
    print(make_snapshot(parser.parse_args().out))


if __name__ == "__main__":
    main()
