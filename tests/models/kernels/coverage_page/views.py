"""Views with known contents: a small one to look at, and one of full size."""

import random

from models.kernels.coverage_page import (
    AttemptView,
    CoverageView,
    EventView,
    FailureView,
    OperatorView,
)
from models.kernels.operators import PAPER_DTYPES, read_catalogue

TARGETS = ("sm80", "sm90", "sm100", "gfx942", "gfx1100")
HOSTILE = '</script><script>document.title="taken"</script><img src=x onerror="throw 1">'
FIRST = "def wrapper(self):\n    return self\n"
SECOND = "def wrapper(self):\n    out = torch.empty(self.shape)\n    return out\n"


def small_view() -> CoverageView:
    """Return five operators: one of each status."""
    wrong = FailureView(
        sample_id="exp/float32/3", dtype="float32", status="wrong",
        message=f"result: 2 of 6 elements differ {HOSTILE}",
        machine={"expected": {"shape": [2, 3]}, "wrong_indices": [[0, 1], [1, 2]], "wrong": 2},
    )  # fmt: skip
    attempts = (
        AttemptView(call_no=1, sha="a" * 64, source=FIRST, verdict="accuracy",
                    packet_kind="accuracy", packet_text=f"Do not overfit {HOSTILE}"),
        AttemptView(call_no=2, sha="b" * 64, source=SECOND + f"# {HOSTILE}", verdict="passed"),
    )  # fmt: skip
    events = (
        EventView(state="PROPOSE", at_s=0.0, detail="synthesizer", call_no=1),
        EventView(state="TEST", at_s=1.25, detail="3 of 4 passed", call_no=1),
        EventView(state="SUCCESS", at_s=2.5, call_no=2),
    )
    full = {"float32": (4, 4), "int64": (2, 2)}
    built = {"float32": {"sm80": True, "gfx942": False}, "int64": {"sm80": True}}
    operators = (
        OperatorView(op_id="abs", family="unary", status="kernel", tests=full, compiled=built,
                     rules=("pointwise",), calls=2, attempts=attempts, events=events,
                     evidence=("e" * 64,)),
        OperatorView(op_id="exp", family="unary", status="failed", rules=("pointwise",),
                     tests={"float32": (3, 4), "int64": (2, 2)}, failure=wrong, calls=3),
        OperatorView(op_id="nn.functional.view", family="view", status="metadata", tests=full,
                     rules=("views",), calls=1, is_hand_written=True),
        OperatorView(op_id="fft.fft", family="fft", exclusion="complex (FFT)", status="missing",
                     tests={"float32": (0, 7)}),
        OperatorView(op_id="empty", family="creation", status="vacuous", tests=full, calls=1),
    )  # fmt: skip
    return CoverageView(
        title=f"Kernels {HOSTILE}", profile="interpreter", suite="S", mode="strict",
        dtypes=("float32", "int64"), targets=("sm80", "gfx942"), operators=operators,
        versions={"torch": "2.13.0"}, facts={"seed": "7"},
    )  # fmt: skip


def full_view(source_bytes: int = 12_000) -> CoverageView:
    """Return all operators of the catalogue with three attempts each, sources of that size."""
    draw = random.Random(5)
    operators = []
    for spec in read_catalogue():
        if not spec.tests:
            continue
        status = draw.choice(["kernel", "kernel", "kernel", "metadata", "failed"])
        # Text of a module compresses about fivefold; so do lines that differ in some numbers.
        lines: list[str] = []
        while sum(map(len, lines)) < source_bytes:
            a, b = draw.randrange(100), draw.randrange(100_000)
            lines.append(f"    x{a} = tl.load(p{a} + i * {b}, i < n, other=0).to(tl.float32)\n")
        attempts = []
        for call in range(1, 4):
            lines[draw.randrange(len(lines))] = f"    tl.store(o + {call}, x)\n"
            attempts.append(
                AttemptView(
                    call_no=call, sha=f"{call}" * 64, source="".join(lines),
                    packet_kind="accuracy", packet_text="wrong " * 40,
                )
            )  # fmt: skip
        tests = {
            name: (total - (status == "failed" and name == "float32"), total)
            for name, total in spec.tests_per_dtype.items()
        }
        built = {name: {target: draw.random() > 0.02 for target in TARGETS} for name in tests}
        operators.append(OperatorView.of_spec(
            spec, status=status, tests=tests, compiled=built, rules=(spec.family,), calls=3,
            attempts=tuple(attempts),
            events=tuple(EventView(state="TEST", at_s=float(n), call_no=1) for n in range(12)),
        ))  # fmt: skip
    return CoverageView(
        title="All operators", profile="interpreter", suite="S", mode="strict",
        dtypes=PAPER_DTYPES, targets=TARGETS, operators=tuple(operators),
    )  # fmt: skip
