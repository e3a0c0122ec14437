"""Standard output of MaxText -> Profile: steps, memory, and the layout that its config echoes.

Source: MaxText's metric_logger.py and max_utils.py (lines "completed step", "Using (GB)", "Total
memory size", "Config param"); its GB are 2**30 bytes.
"""

from __future__ import annotations

import hashlib
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from models.errors import NotEnoughDataError
from models.sharding.job import Job
from models.sharding.layout import AXES, Layout
from models.sharding.profile.base import Profile, spread_s, trusted
from models.sharding.profile.maxtext_config import MaxTextConfig, read_config

_STEP = re.compile(r"completed step:\s*(\d+)\s*,(.*)")
_PAIR = re.compile(r"([A-Za-z][\w/ ]*?):\s*([-+\w.]+)")
_USING = re.compile(r"Using \(GB\)\s*([\d.]+)\s*/\s*([\d.]+).*\bon\b")
_TOTAL = re.compile(r"Total memory size:\s*([\d.]+)\s*GB(.*)")
_ARGUMENT = re.compile(r"Argument size:\s*([\d.]+)\s*GB")
_GIB = 2.0**30
_WARM_UP = 1.25
_LEAST_STEPS = 3
"""Steady steps below which a median may be that of the warm-up."""
_CLOSE = 0.02


class Step(NamedTuple):
    """One line "completed step"."""

    number: int
    seconds: float
    tflops: float
    """TFLOP/s per device, as MaxText counts them."""
    tokens_per_s: float
    """Per device."""
    weights: float
    """Tokens that the loss counts, over all devices."""
    loss: float | None
    """None where the line has none."""


def profile_of_maxtext_log(
    text: str, job: Job | None = None, layout: Layout | None = None
) -> Profile:
    """Return the median step of a run, with what the log tells of memory and layout.

    Steps at the start that take more than 1.25 times the median of the second half are warm-up and
    left out, as are steps without a positive time. What contradicts itself is said in `warnings`:
    a listing and its log can disagree.

    Args:
        text: Standard output, other lines among it.
        job: What was meant to run, to compare with.
        layout: Its layout; else the one that the config echoes.

    Raises:
        NotEnoughDataError: No step has a time, or fewer than three are left after the warm-up: the
            log was cut off.
    """
    lines = text.splitlines()
    steps = read_steps(lines)
    timed = [step for step in steps if 0 < step.seconds < math.inf]
    if not timed:
        raise NotEnoughDataError(
            f"the log has {len(steps)} lines 'completed step: N, seconds: S' and none with a "
            "positive time; give the whole standard output of MaxText"
        )
    steady = _without_warm_up(timed)
    if len(steady) < _LEAST_STEPS:
        raise NotEnoughDataError(
            f"of {len(timed)} steps in the log {len(steady)} are left after the warm-up, at least "
            f"{_LEAST_STEPS} are needed; give the whole log of a run of ten steps or more"
        )
    config = read_config(lines)
    devices = config.devices or config.product or (job.place.chips if job else None)
    told = config.layout(_proven_batch(steady, config, devices))
    seconds = [step.seconds for step in steady]
    step_s = statistics.median(seconds)
    tflops = _median(step.tflops for step in steady)
    used = [float(found.group(1)) for line in lines if (found := _USING.search(line))]
    totals = [found for line in lines if (found := _TOTAL.search(line))]
    argument = [
        float(found.group(1)) for total in totals if (found := _ARGUMENT.search(total.group(2)))
    ]
    warnings = [
        *_odd_steps(steps, timed, steady),
        *config.warnings,
        *_contradictions(steady, config, devices, job),
        *_other_layout(layout, told),
    ]
    profile = Profile(
        "maxtext_log",
        step_s=step_s,
        spread_s=spread_s(seconds),
        flops=tflops * 1e12 * step_s if tflops else None,
        peak_hbm_bytes=max(float(one.group(1)) for one in totals) * _GIB if totals else None,
        argument_bytes=max(argument or used) * _GIB if argument or used else None,
        layout=layout or told,
        chips=job.place.chips if job else None,
        warnings=tuple(dict.fromkeys(warnings)),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )
    return trusted(profile, "measured", peak_hbm_bytes="compiled")


def read_steps(lines: Iterable[str]) -> list[Step]:
    """Return all lines "completed step", with NaN for what a line does not say."""
    return [step for line in lines if (step := _step(line))]


def _step(line: str) -> Step | None:
    found = _STEP.search(line)
    if not found or len(found.group(1)) > 12:
        return None
    values = {key.strip(): _number(text) for key, text in _PAIR.findall(found.group(2))}
    nothing = math.nan
    return Step(
        int(found.group(1)),
        values.get("seconds", nothing),
        values.get("TFLOP/s/device", nothing),
        values.get("Tokens/s/device", nothing),
        values.get("total_weights", nothing),
        values.get("loss"),
    )


def _number(text: str) -> float:
    try:
        return float(text.rstrip(".,"))
    except ValueError:
        return math.nan


def _median(values: Iterable[float]) -> float | None:
    good = [v for v in values if 0 < v < math.inf]
    return statistics.median(good) if good else None


def _without_warm_up(timed: Sequence[Step]) -> list[Step]:
    """Drop the slow steps at the start; the last step stays."""
    middle = statistics.median(step.seconds for step in timed[len(timed) // 2 :])
    first = 0
    while first < len(timed) - 1 and timed[first].seconds > _WARM_UP * middle:
        first += 1
    return list(timed[first:])


def _odd_steps(steps: Sequence[Step], timed: Sequence[Step], steady: Sequence[Step]) -> list[str]:
    said = []
    if len(timed) < len(steps):
        said.append(f"{len(steps) - len(timed)} of {len(steps)} steps have no positive time")
    if len(steady) < len(timed):
        said.append(f"{len(timed) - len(steady)} warm-up steps are left out")
    if len(steady) == _LEAST_STEPS:
        said.append(f"only {len(steady)} steps are left: their median may be a warm-up's")
    fastest, middle = (pick(step.seconds for step in steady) for pick in (min, statistics.median))
    if middle > _WARM_UP * fastest:
        said.append(
            f"steps have not settled: the median is {middle:.4g} s, the fastest {fastest:.4g} s"
        )
    numbers = [step.number for step in steps]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        said.append("step numbers go back: the log holds more than one run, or a restart")
    bad = [one.number for one in steps if one.loss is not None and not math.isfinite(one.loss)]
    if bad:
        said.append(f"the loss is no number from step {bad[0]} on ({len(bad)} steps)")
    return said


def _contradictions(
    steady: Sequence[Step], config: MaxTextConfig, devices: int | None, job: Job | None
) -> list[str]:
    said = []
    weights = _median(step.weights for step in steady)
    step_s = statistics.median(step.seconds for step in steady)
    length = config.numbers.get("max_target_length") or (job.workload.seq_len if job else None)
    batch = config.numbers.get("per_device_batch_size")
    if weights and batch and length and devices:
        asked = batch * devices * length
        if abs(weights - asked) > _CLOSE * asked:
            said.append(
                f"per_device_batch_size {batch:g} makes {asked:,.0f} tokens a step, total_weights "
                f"says {weights:,.0f}, which is {weights / devices / length:.3g} per device"
            )
    rate = _median(step.tokens_per_s for step in steady)
    if rate and weights and devices and abs(rate * step_s * devices - weights) > _CLOSE * weights:
        said.append(
            f"{rate:,.0f} tokens/s/device x {step_s:.4g} s x {devices} devices are "
            f"{rate * step_s * devices:,.0f} tokens, total_weights says {weights:,.0f}"
        )
    if job and weights and abs(weights - job.workload.tokens) > _CLOSE * job.workload.tokens:
        said.append(
            f"the job has {job.workload.tokens:,} tokens a step, total_weights says {weights:,.0f}"
        )
    if job and config.devices and config.devices % job.place.chips:
        said.append(f"the log says {config.devices} devices, the job has {job.place.chips} chips")
    tflops = _median(step.tflops for step in steady)
    if job and tflops and tflops * 1e12 > job.place.chip.rate(job.workload.compute):
        said.append(
            f"{tflops:.4g} TFLOP/s/device exceed the peak of {job.place.chip.name}: attention may "
            "be counted in full, or the number format is another"
        )
    return said


def _proven_batch(
    steady: Sequence[Step], config: MaxTextConfig, devices: int | None
) -> float | None:
    """Return the sequences per device that the counted tokens make; None where they do not say."""
    weights = _median(step.weights for step in steady)
    length = config.numbers.get("max_target_length")
    if not weights or not length or not devices or length < 1:
        return None
    batch = weights / devices / length
    # Padding counts as no token: only a whole number of sequences is proof.
    return round(batch) if batch > 0.5 and abs(batch - round(batch)) < _CLOSE else None


def _other_layout(given: Layout | None, told: Layout | None) -> list[str]:
    if given is None or told is None:
        return []

    def sizes(layout: Layout) -> Mapping[str, int]:
        return {axis: getattr(layout, axis) for axis in AXES}

    if sizes(given) == sizes(told):
        return []
    return [f"the layout given is {given.text()}, the log's config says {told.text()}"]
