"""The process of one contestant: loads once, then runs contests that come line by line.

`python -m models.inference.bench.child FD`: the setup is the first line of standard input, each
further line names a contest; answers go to file descriptor FD, as engines print what they like.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from models.inference.bench.contest import Contest
from models.inference.bench.engine import Build, Clock, Setup

ENGINES = {
    "native": "models.inference.bench.native:NativeContestant",
    "vllm": "models.inference.bench.vllm_peer:VllmContestant",
    "hf": "models.inference.bench.hf_peer:HfContestant",
    "llamacpp": "models.inference.bench.llamacpp_peer:LlamaCppContestant",
}


def main(descriptor: int) -> None:
    """Serve until standard input ends."""
    with os.fdopen(descriptor, "wb") as answers:

        def answer(values: dict[str, Any]) -> None:
            answers.write(orjson.dumps(values) + b"\n")
            answers.flush()

        try:
            given = orjson.loads(sys.stdin.readline())
            setup = Setup(**{**given, "cache": Path(given["cache"])})
            clock = Clock()
            module, _, attribute = ENGINES[setup.engine].partition(":")
            build: Build = getattr(importlib.import_module(module), attribute)
            contestant = build(setup)
            answer({"about": contestant.about, "load_cpu_s": clock.stop()[0]})
            for line in sys.stdin:
                wanted = orjson.loads(line)
                contest = Contest.read(Path(wanted["contest"]))
                answer(asdict(contestant.run(contest, wanted["options"])))
        except Exception as error:  # the parent has to hear of it, whatever it is
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main(int(sys.argv[1]))
