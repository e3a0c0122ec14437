import pytest
from pydantic import ValidationError

from models.upgrades import UpgradeConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"levels": (0.5, 0.4)}, "must rise strictly"),
        ({"levels": (0.5, 1.0)}, "numbers in \\(0, 1\\)"),
        ({"levels": (0.5,)}, "at least two"),
        ({"policy_levels": ()}, "one or more"),
        ({"fit_share": 0.9, "select_share": 0.1}, "leaves nothing to test on"),
        ({"costs": {"cancel_cost": float("inf")}}, "finite"),
        ({"costs": {"completed_value": 0}}, "greater than 0"),
        ({"window_s": 0}, "greater than 0"),
        ({"forecaster": "crystal-ball"}, "xgb-quantile"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_wrong(values, message):
    with pytest.raises(ValidationError, match=message):
        UpgradeConfig(**values)


def test_the_defaults_leave_the_last_thirty_percent_for_the_test():
    config = UpgradeConfig()
    used = config.fit_share + config.calibrate_share + config.select_share
    assert round(1 - used, 9) == 0.3
