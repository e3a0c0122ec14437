"""DEBUG and SUMMARIZE: a packet in better words, without a model."""

from __future__ import annotations

from models.kernels.candidate import KernelCandidate
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.feedback import FeedbackPacket, printed
from models.kernels.harness.report import TestReport

CHARACTERS_PER_TOKEN = 4
_AROUND = 3
"""Lines of source shown before and after the failing one."""
_LAUNCHES = 2


def tokens(text: str) -> int:
    """Estimate the tokens of a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def debugged(
    packet: FeedbackPacket, candidate: KernelCandidate, report: TestReport
) -> FeedbackPacket:
    """Add what a debugger would show: the lines around the failing access, and the launch.

    Args:
        packet: Of a crash or a refused access.
        candidate: The module.
        report: With the failure first.
    """
    kernel, line = _place(report)
    parts = [packet.text]
    if line:
        parts.append(f"The failing line{f' of {kernel}' if kernel else ''}:\n"
                     + _excerpt(candidate.source, line))  # fmt: skip
    launches = [one for one in report.launches if one.kernel == kernel]
    if launches:
        shown = "\n".join(_launch(one) for one in launches[-_LAUNCHES:])
        parts.append(f"Launches of {kernel} before it ended:\n{shown}")
    facts = {"kernel": kernel, "line": line or None}
    return packet.knowing(**facts).saying("\n\n".join(parts))


def _place(report: TestReport) -> tuple[str, int]:
    failure = report.first_failure
    if failure is None:
        return "", 0
    for one in failure.machine.get("violations", ()):
        if one.get("line"):
            return str(one.get("kernel", "")), int(one["line"])
    last = failure.crash.last if failure.crash else None
    return (last.kernel, last.line) if last else ("", 0)


def _excerpt(source: str, line: int) -> str:
    lines = source.split("\n")
    first = max(1, line - _AROUND)
    return "\n".join(
        f"{'>' if number == line else ' '} {number:4} {printed(lines[number - 1])[:160]}"
        for number in range(first, min(len(lines), line + _AROUND) + 1)
    )


def _launch(record: LaunchRecord) -> str:
    types = ", ".join(f"{name}: {record.constexprs.get(name, kind)}"
                      for name, kind in record.signature.items())  # fmt: skip
    return f"  grid {record.grid}, {types}"


def shortened(text: str, most_tokens: int) -> str:
    """Return a text without repeated lines, its beginning and end if that is still too long.

    The exact error and the statement it points to stand at the two ends of what stages write.

    Args:
        text: What a stage said.
        most_tokens: Limit, in tokens.
    """
    seen: set[str] = set()
    kept = []
    for line in text.split("\n"):
        if line.strip() and line.strip() in seen:
            continue
        seen.add(line.strip())
        kept.append(line)
    short = "\n".join(kept)
    most = most_tokens * CHARACTERS_PER_TOKEN
    if len(short) <= most:
        return short
    gap = "\n[..]\n"
    half = (most - len(gap)) // 2
    return short[:half] + gap + short[-half:]
