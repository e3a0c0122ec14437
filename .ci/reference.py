"""Write the API reference from docstrings to out/reference (`make reference`).

Every name that a package gives out (`__all__`) has to be there: one that is not ends with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("flows", "tasks", "models")


def main() -> int:
    """Write the pages; 0 when all names were found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "packages", nargs="*", default=FLOORS, help="default: all of the three floors"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "reference")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("LOOM_HOME", str(ROOT / "out" / "reference-home"))
    import pdoc

    names = list(dict.fromkeys(one for each in options.packages for one in packages_of(each)))
    missing = [f"{name}.{given}" for name in names for given in unresolved(name)]
    with warnings.catch_warnings():
        # Names for type checkers alone cannot be linked; they are shown as written.
        warnings.filterwarnings("ignore", message="Error parsing type annotation")
        pdoc.render.configure(docformat="google", show_source=False, footer_text="Loomworks")
        pdoc.pdoc(*names, output_directory=options.output)
    for page in options.output.rglob("*.html"):
        # Defaults below the checkout are shown as they are for everybody.
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(str(ROOT), "CHECKOUT"), encoding="utf-8")
    print(f"{len(names)} packages and modules: {options.output / 'index.html'}")
    for name in missing:
        print(f"{name} is in __all__ and nowhere else", file=sys.stderr)
    return 1 if missing else 0


def packages_of(name: str) -> Iterator[str]:
    """Yield a package and those below it; of the lower floors, modules outside packages too."""
    package = importlib.import_module(name)
    yield name
    for found in pkgutil.iter_modules(getattr(package, "__path__", ())):
        if found.name.startswith("_"):
            continue
        if found.ispkg:
            yield from packages_of(f"{name}.{found.name}")
        elif name in FLOORS:
            yield f"{name}.{found.name}"


def unresolved(name: str) -> Iterator[str]:
    """Yield what a package gives out and does not have; what it loads late is loaded now."""
    package = importlib.import_module(name)
    for given in getattr(package, "__all__", ()):
        with contextlib.suppress(AttributeError):
            setattr(package, given, getattr(package, given))
            continue
        yield given


if __name__ == "__main__":
    raise SystemExit(main())
