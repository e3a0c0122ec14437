"""What a model costs on this machine: from its shapes, or measured where the job is worth it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from models.inference.calibrate import read_calibration
from models.inference.cost import CostModel
from models.inference.local_model import LocalModel
from models.inference.model.architecture import DecoderConfig
from models.settings import ROOT

log = logging.getLogger("loom.inference")

WORTH_S = 15.0
"""Predicted CPU seconds below which measuring (some 10 of them, once) is not worth it."""
MEASURE_TIMEOUT_S = 900.0
# The shapes of SmolLM2-135M, which the default prices are of.
_WEIGHTS, _HEAD, _KV = 106_168_320, 49_152 * 576, 11_520


class Prices(NamedTuple):
    """Prices of steps.

    Attributes:
        cost: For the planner.
        is_measured: On this machine, or else guessed from the model's shapes.
    """

    cost: CostModel
    is_measured: bool

    @property
    def words(self) -> str:
        """Say where they come from."""
        return "measured here" if self.is_measured else "guessed from the model's size"


def guessed_prices(shape: DecoderConfig | None) -> Prices:
    """Scale the default prices by weights per token; None: the defaults.

    A model smaller than the embedded one keeps its prices: what a group costs beside its tokens
    does not shrink, and nothing would be worth sharing.
    """
    cost = CostModel()
    if shape is None:
        return Prices(cost, False)
    size = max(shape.weights_per_token / _WEIGHTS, 1.0)
    head = max(shape.vocabulary * shape.hidden / _HEAD, 1.0)
    return Prices(
        replace(
            cost,
            prefill_s=cost.prefill_s * size,
            decode_s=cost.decode_s * size,
            step_s=cost.step_s * size,
            sample_s=cost.sample_s * head,
            copy_s=cost.copy_s * max(shape.kv_values_per_token / _KV, 1.0),
        ),
        False,
    )


def known_prices(model: LocalModel, dtype: str, cache: Path, n_threads: int = 1) -> Prices:
    """Return what was measured here before, or else a guess."""
    found = read_calibration(model.fingerprint, dtype, cache / "costs", n_threads)
    return guessed_prices(model.config) if found is None else Prices(found.cost, True)


def measured_prices(model: LocalModel, dtype: str, cache: Path, n_threads: int = 1) -> Prices:
    """Measure in a process of its own, unless it was done before; a failure leaves the guess.

    Args:
        model: Which the native engine knows.
        dtype: Number type of its weights.
        cache: Of the inference room.
        n_threads: Threads that a step uses.
    """
    known = known_prices(model, dtype, cache, n_threads)
    if known.is_measured or model.config is None:
        return known
    name = model.name if model.name == "smollm2" else str(model.folder)
    arguments = [name, dtype, str(cache), str(n_threads)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "models.inference.calibrate", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=MEASURE_TIMEOUT_S,
            env={**os.environ, "OMP_NUM_THREADS": str(n_threads)},
        )
        if done.returncode:
            log.warning("prices were not measured: %s", done.stderr.strip()[-300:])
    except subprocess.TimeoutExpired:
        log.warning("prices were not measured within %.0f s", MEASURE_TIMEOUT_S)
    return known_prices(model, dtype, cache, n_threads)
