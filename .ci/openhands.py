"""Make `.venv-openhands`, the environment of the reference that `loom bench agents` compares with.

It needs Python 3.12 or newer, which our own environment does not have to be.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-openhands"
PINS = ROOT / "benchmarks" / "agents" / "openhands.txt"
NAMES = ("python3.12", "python3.13", "python3.14", "python3")


def main() -> int:
    """Install what is missing; 0 when the environment is ready."""
    stamp = VENV / "installed.txt"
    if stamp.exists() and stamp.read_bytes() == PINS.read_bytes():
        return 0
    python = next((found for found in map(shutil.which, NAMES) if found and is_new(found)), None)
    if python is None:
        print("the reference needs Python 3.12 or newer on the PATH; none of "
              f"{', '.join(NAMES)} is", file=sys.stderr)  # fmt: skip
        return 1
    commands = (
        [python, "-m", "venv", "--clear", str(VENV)],
        [str(VENV / "bin/pip"), "install", "-q", "--no-deps", "-r", str(PINS)],
    )
    for command in commands:
        done = subprocess.run(command, check=False)
        if done.returncode:
            return done.returncode
    shutil.copyfile(PINS, stamp)
    return 0


def is_new(python: str) -> bool:
    """Whether an interpreter starts and is new enough."""
    code = "import sys; raise SystemExit(sys.version_info < (3, 12))"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
