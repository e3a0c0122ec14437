from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.kernels.candidate import KernelCandidate
from models.kernels.execute import ExecutionLimits, Zygote
from models.kernels.harness import Harness
from models.kernels.samples.values import ALIGNMENT, pack, unpack


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """One warm parent per test session: it takes 4 CPU seconds to start."""
    with Zygote() as parent:
        yield parent


@pytest.fixture(scope="session")
def harness(zygote: Zygote) -> Harness:
    return Harness(zygote)


@pytest.fixture
def execute(zygote: Zygote) -> Callable[..., Any]:
    """Run a wrapper once, without a reference: returns (outcome, result, last ending)."""

    def run(source: str, *args: Any, align_bytes: int = 1, may_read: bool = False,
            form: str = "functional", **limits: Any) -> Any:  # fmt: skip
        tree, block = pack((args, {}))
        block += bytes(-len(block) % ALIGNMENT)
        reply, out = zygote.ask(
            {
                "kind": "execute",
                "candidate": KernelCandidate.of("add", source).model_dump(mode="json"),
                "depends_on": [],
                "samples": [{"tree": tree, "place": [0, len(block)], "form": form, "repeat": False,
                             "may_read": may_read}],
                "limits": ExecutionLimits(**limits).model_dump(),
                "align_bytes": align_bytes,
                "stop_at_first_failure": False,
            },
            block,
        )  # fmt: skip
        outcome = reply["outcomes"][0]
        result = unpack(outcome["tree"], out) if outcome["status"] == "ran" else None
        return outcome, result, reply["endings"][-1]

    return run
