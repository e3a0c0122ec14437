"""AgentDojo in a process of its own: a line of JSON asks, a line answers.

    python -m models.detection.explorer.dojo.worker

`executor.py` starts it in a sandbox without network; it needs none.
"""

from __future__ import annotations

import os
import sys
from typing import Literal

import msgspec

from models.detection.explorer.dojo.scenes import Shown
from models.detection.explorer.dojo.stage import encoded, play_in_dojo
from models.detection.explorer.dojo.suites import suite_of
from models.detection.explorer.genome import Genome
from models.detection.explorer.victim import victim_of
from models.errors import ProjectError


class Opened(msgspec.Struct, frozen=True, tag="open"):
    """Asks for what the user tasks of these suites show."""

    suites: tuple[str, ...]


class Played(msgspec.Struct, frozen=True, tag="play"):
    """Asks for a session; see `play_in_dojo`."""

    genome: Genome
    seed: str
    victim: str
    obeys: bool


class Answer(msgspec.Struct, frozen=True):
    """An answer, or why there is none."""

    kind: Literal["ok", "error"]
    value: msgspec.Raw


_READ = msgspec.json.Decoder(Opened | Played)


def main() -> int:
    """Answer until standard input is closed; returns the exit code."""
    # What a library prints must not stand between answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    shown: list[Shown] = []
    for line in sys.stdin.buffer:
        asked = _READ.decode(line)
        try:
            if isinstance(asked, Opened):
                shown = [one for name in asked.suites for one in suite_of(name).shown()]
                value = msgspec.json.encode(shown)
            else:
                victim = victim_of(asked.victim)
                played = play_in_dojo(asked.genome, asked.seed, victim, shown, obeys=asked.obeys)
                value = encoded(played)
            answer = Answer("ok", msgspec.Raw(value))
        except ProjectError as error:
            answer = Answer("error", msgspec.Raw(msgspec.json.encode(str(error))))
        out.write(msgspec.json.encode(answer) + b"\n")
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
