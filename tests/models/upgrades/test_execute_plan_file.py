"""A recorded plan becomes work, or is refused."""

import numpy as np
import pandas as pd
import pytest

from models.upgrades.execute import (
    PlanFileError,
    Work,
)
from models.upgrades.execute.plan_file import plan_of

from .rollouts import task


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start_s": 20_000}, "starts at or after its latest safe instant"),
        ({"reserved_s": 0.0}, "reserves no time"),
        ({"reserved_s": np.nan}, "has no time"),
        ({"task": "a"}, "is placed twice"),
        ({"task": None}, r"\(row 1\) has no task"),
        ({"host": " "}, "has no host"),
        ({"start_s": "soon"}, r"task b \(row 1\) has no time in numbers"),
        ({"start_s": pd.Timestamp(0)}, "has no time in numbers"),
        ({"deadline_s": np.inf}, "time beyond all clocks"),
        ({"deadline_s": 2e14}, "time beyond all clocks"),
        ({"reserved_s": 1e14}, "time beyond all clocks"),
        ({"deadline_s": 11 * 366 * 86_400}, "ends more than ten years after the plan begins"),
        ({"window_open_s": -11 * 366 * 86_400}, "more than ten years after the plan begins"),
        ({"reserved_s": 4e8}, "reserves more than ten years"),
        ({"window_open_s": "x"}, "has no opening of its window"),
        ({"lane": np.nan}, "lane that is no whole number"),
        ({"lane": 0.5}, "lane that is no whole number"),
        ({"lane": -1}, "lane that is no whole number"),
        ({"wave": "x"}, r"task b \(row 1\) has a wave that is no whole number"),
        ({"wave": 0.5}, "wave that is no whole number"),
    ],
)
def test_a_table_that_cannot_be_carried_out_is_refused(change: dict[str, object], words: str):
    with pytest.raises(PlanFileError, match=words):
        plan_of(pd.DataFrame([task("a"), task("b", 60) | change]))
    with pytest.raises(PlanFileError, match="lacks lane"):
        plan_of(pd.DataFrame([task("a")]).drop(columns="lane"))


def test_every_field_of_a_task_is_in_the_digest_of_its_plan():
    fields = {
        **dict.fromkeys(("task", "host", "domain", "service", "type", "release"), "other"),
        "lane": 1,
        "wave": 2,
        "start_s": 1,
        "reserved_s": 60.0,
        "deadline_s": 14_401,
    }
    plans = [plan_of(pd.DataFrame([task("a") | {name: v}])) for name, v in fields.items()]
    digests = {plan_of(pd.DataFrame([task("a")])).digest, *(plan.digest for plan in plans)}
    assert len(digests) == len(fields) + 1 == len(Work.__dataclass_fields__) + 1
