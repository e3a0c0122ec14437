"""A forecaster as MLflow serves it. Importing this imports MLflow: only inside functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.pyfunc.model import PythonModel

from models.upgrades.model_card import ModelCard, features_from
from tasks.track.model_files import CARD, FORECASTER, read_card, read_forecaster
from tasks.track.registry import ModelDamagedError


class DurationPyfunc(PythonModel):
    """Quantiles of duration in seconds from a table of as-of features."""

    def load_context(self, context: Any) -> None:
        """Read forecaster and card from the model's artifacts.

        Raises:
            ModelDamagedError: The card describes another forecaster.
        """
        self.card = read_card(Path(context.artifacts["card"]))
        self.forecaster = read_forecaster(Path(context.artifacts["forecaster"]))
        if self.forecaster.digest != self.card.digest:
            raise ModelDamagedError(
                f"{FORECASTER} holds forecaster {self.forecaster.digest[:16]}, {CARD} describes "
                f"{self.card.digest[:16]}: one of them was swapped; fetch the model again"
            )

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one column per level of the grid, seconds, shape (n_tasks, n_levels)."""
        features = features_from(model_input, self.card)
        quantiles_s = self.forecaster.quantiles(features, self.card.levels)
        return pd.DataFrame(quantiles_s, columns=quantile_columns(self.card))


def quantile_columns(card: ModelCard) -> list[str]:
    """Names of the output columns."""
    return [f"q{level:g}" for level in card.levels]
