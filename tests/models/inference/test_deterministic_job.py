"""`deterministic` through a whole job: the same bytes whatever stands beside a row."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from models.inference.batch_input import NATURAL_PROMPTS, Places
from models.inference.engine_process import Start, start_process
from models.inference.job import JobReport, run_job
from models.inference.job_config import JobConfig
from models.settings import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def rows() -> list[dict[str, Any]]:
    """Three questions to each of two documents, half of them drawn, all with log-probabilities."""
    shipped = (ROOT / "datasets" / NATURAL_PROMPTS).read_text().splitlines()
    found = [json.loads(line) for line in shipped]
    found = [row for row in found if row["custom_id"].startswith(("alice", "moby"))]
    found = [row for row in found if row["custom_id"][-2:] in ("01", "02", "03")]
    for number, row in enumerate(found):
        row["body"] |= {
            "max_tokens": 12,
            "temperature": 0.8 * (number % 2),
            "n": 1 + number // 5,
            "logprobs": True,
            "top_logprobs": 2,
        }
    return found


def run(
    home: Path,
    folder: Path,
    rows: list[dict[str, Any]],
    start: Start = start_process,
    **changes: Any,
) -> tuple[dict[str, bytes], JobReport]:
    folder.mkdir()
    data = folder / "in.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = JobConfig(
        data=data,
        output=folder / "out.jsonl",
        backend="native",
        deterministic=True,
        **{"kv_gib": 0.2, "checkpoint_tokens": 2, **changes},
    )
    report = run_job(config, Places(home, ROOT / "datasets"), start=start)
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    choices = {
        line["custom_id"]: json.dumps(line["response"]["body"]["choices"]).encode()
        for line in lines
    }
    return choices, report


class KillOnce:
    """Starts engine processes and kills the first one once it has left a few partial records."""

    def __init__(self) -> None:
        self.killed = 0

    def __call__(self, folder: Path) -> subprocess.Popen[bytes]:
        process = start_process(folder)
        if not self.killed:
            threading.Thread(target=self._kill, args=(process, folder.parents[1])).start()
        return process

    def _kill(self, process: subprocess.Popen[bytes], job: Path) -> None:
        while process.poll() is None:
            if sum(f.stat().st_size for f in (job / "partials").glob("*.segment")) > 1_500:
                process.kill()
                self.killed += 1
                return
            time.sleep(0.005)


def test_order_budget_and_a_kill_change_no_byte(home: Path, tmp_path: Path):
    given = rows()
    assert len(given) == 6
    plain, report = run(home, tmp_path / "plain", given)
    assert (report.merged.rows_ok, report.deaths) == (6, 0)
    assert len(set(plain.values())) == 6
    backward, _ = run(*(home, tmp_path / "backward", given[::-1]), order="longest", step_tokens=100)
    assert backward == plain
    narrow, report = run(home, tmp_path / "narrow", given, kv_gib=0.07, max_rows=1)
    assert narrow == plain
    assert report.counters.kv_peak_bytes < 0.07 * 1024**3
    kill = KillOnce()
    killed, report = run(home, tmp_path / "killed", given, kill)
    assert (kill.killed, report.deaths) == (1, 1)
    assert killed == plain
