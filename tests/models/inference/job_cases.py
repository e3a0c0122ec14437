"""An engine process whose backend is a stand-in: it answers at once, dies or waits on demand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.inference import worker
from models.inference.backends.base import Sink, Watch, Work
from models.inference.outcome import Finished
from models.inference.plan import Plan
from models.inference.requests import Choice
from models.settings import ROOT

POISON, SLOW, LOUD = 96, 95, 94


class StandIn:
    """Says the last token of each prompt; 96 kills the process, 95 takes its time."""

    def __init__(self, work: Work, watch: Watch) -> None:
        self.work, self.watch = work, watch

    def run(self, plan: Plan, shard: int, sink: Sink) -> None:
        for group in plan.run_order(shard):
            for prompt in group.members.tolist():
                ids = self.work.prompts[prompt].tolist()
                if POISON in ids:
                    os.kill(os.getpid(), signal.SIGKILL)
                if LOUD in ids:
                    raise MemoryError
                for _ in range(200 if SLOW in ids else 0):
                    self.watch.check()
                    time.sleep(0.05)
                self.watch.check()
                choice = Choice((ids[-1],), str(ids[-1]), "length")
                sink(prompt, Finished((choice,), prompt_tokens=len(ids)))

    def trace(self) -> Sequence[Any]:
        return ()


def start_stand_in(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / worker.LOG).open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.models.inference.job_cases", str(folder)],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )


if __name__ == "__main__":
    worker.BACKENDS["native"] = "tests.models.inference.job_cases:StandIn"
    sys.exit(worker.run_task(Path(sys.argv[1])))
