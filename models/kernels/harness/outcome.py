"""From what a process said of a sample to its outcome."""

from __future__ import annotations

from typing import Any

from models.kernels.execute.recorder import LastOperation
from models.kernels.harness.compare import describe_inputs
from models.kernels.harness.report import CrashReport, TestOutcome

_FACTS = ("is_repeatable", "is_order_free", "has_float_atomics", "dispatched",
          "result_sha")  # fmt: skip


def _crash(ended: dict[str, Any]) -> CrashReport:
    last = ended.get("last")
    return CrashReport(
        signal=ended["signal"], exit_code=ended["exit_code"], text=ended["text"],
        printed_bytes=ended["printed_bytes"], cpu_s=ended["cpu_s"],
        last=None if last is None else LastOperation.model_validate(last),
    )  # fmt: skip


def _place(crash: CrashReport) -> str:
    last = crash.last
    if last is None:
        return ""
    where = f" of {last.kernel}, line {last.line}, program {last.program}" if last.kernel else ""
    return f"; last operation: {last.operation}{where}"


def outcome_of(sample: dict[str, Any], raw: dict[str, Any]) -> TestOutcome:
    """Build the outcome of one sample.

    Args:
        sample: As the reference process described it.
        raw: What the execution process or the comparison said.
    """
    head: dict[str, Any] = {"sample_id": sample["sample_id"], "dtype": sample["dtype"],
                            "key": sample["key"], "launches": int(raw.get("launches", 0)),
                            "cpu_s": float(raw.get("cpu_s", 0.0)),
                            **{name: raw[name] for name in _FACTS if name in raw}}  # fmt: skip
    status = raw["status"]
    if "skip" in sample:
        return TestOutcome(status="skipped", message=sample["skip"], **head)
    if "error_type" in sample and status in ("raised", "ran"):
        if status == "ran":
            return TestOutcome(status="no_error", message=f"ATen raises {sample['error_type']} "
                               "for these arguments, the wrapper returned", **head)  # fmt: skip
        if sample["error_type"] in raw["error_bases"]:
            return TestOutcome(status="passed", backing="value", **head)
    machine: dict[str, Any] = dict(raw.get("machine", {}))
    machine["inputs"] = describe_inputs(sample["tree"])
    if status in ("crash", "timeout", "no_report"):
        crash = _crash(raw["ended"])
        said = {
            "crash": f"the process ended by {crash.signal}",
            "timeout": f"no result within {raw['limit_s']} s, the process was killed",
            "no_report": f"the process exited with code {crash.exit_code} and reported nothing",
        }[status]
        return TestOutcome(status=status, message=said + _place(crash), crash=crash,
                           machine=machine, **head)  # fmt: skip
    if status == "passed":
        return TestOutcome(status=status, backing=raw["backing"],
                           oracle=raw["oracle"], **head)  # fmt: skip
    if status == "violation" and "violations" in raw:
        machine["violations"] = raw["violations"]
        first = raw["violations"][0]
        inside = f"{first['kernel']}, " if first["kernel"] else ""
        program = f", program {tuple(first['program'])}" if first["kernel"] else ""
        place = f" ({inside}line {first['line']}{program})"
        message = f"{first['kind']}: {first['detail']}" + (place if first["line"] else "")
        return TestOutcome(status=status, message=message, machine=machine, **head)
    if status == "raised":
        machine["error_type"] = raw["error_type"]
        message = f"{raw['error_type']}: {raw['message']}\n{raw['trace']}".strip()
        return TestOutcome(status=status, message=message, machine=machine, **head)
    if status == "no_form":
        return TestOutcome(status="raised", message=raw["message"], machine=machine, **head)
    return TestOutcome(status=status, message=raw.get("message", ""), machine=machine, **head)
