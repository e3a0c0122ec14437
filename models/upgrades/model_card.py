"""What is kept beside a registered forecaster, so that it can be used and judged later."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from models.config import Config
from models.errors import DataError
from models.upgrades.config import CostModel
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.forecast.conformal import CalibratedModel
from models.upgrades.history import History
from models.upgrades.policy import Dispatch, Policy
from models.upgrades.splits import Split

DECISION = "decision_s"
# A date that an export carries in its name says when it was made, not what it tells of.
_DATE = re.compile(
    r"(?<!\d)(?:19|20)\d\d(?:[-_.]?(?:0[1-9]|1[0-2])(?:[-_.]?(?:0[1-9]|[12]\d|3[01]))?)"
    r"(?:[T_-]?\d{4}(?:\d\d)?Z?)?(?!\d)"
)
# The file of a fleet's past: there the folder names the fleet.
_PAST_OF_A_FLEET = "events"


class CardMismatchError(DataError):
    """A registered forecaster meets features of another kind than it was fitted on."""


class PolicyCard(Config):
    """A policy as it is kept; the fields of `Policy`."""

    forecaster: str
    dispatch: Dispatch
    level: float | None = None
    lane_price_per_h: float | None = None
    is_informed: bool = False


class ModelCard(Config):
    """What a forecaster was made from and how it is used."""

    forecaster: str
    """Name of the forecaster."""
    digest: str
    """Digest of everything that it was fitted from."""
    policy: PolicyCard
    """Policy that plans with it."""
    levels: tuple[float, ...]
    """Quantile levels of its grid."""
    features: tuple[str, ...]
    """Feature columns, in order."""
    categories: Mapping[str, tuple[str, ...]]
    """Labels of each categorical column, by code."""
    source: str
    """Schema of the history."""
    history_digest: str
    """Digest of the history."""
    known_until_s: int
    """Nothing that ended later was fitted on, seconds of the local clock."""
    costs: CostModel
    """Costs that the policy was chosen by."""
    window_s: int
    """Window that the policy was chosen for, in seconds."""

    @property
    def costs_hash(self) -> str:
        """SHA-256 of the costs and the window; another table of costs is another choice."""
        said = f"{self.costs.model_dump_json()} {self.window_s}"
        return hashlib.sha256(said.encode()).hexdigest()

    @property
    def chosen(self) -> Policy:
        """The policy."""
        return Policy(**self.policy.model_dump())


def registry_name(data: Path | None, source: str, asked: str | None = None) -> str:
    """Return the name under which the forecasters of a history are registered.

    It is that of the file, so that rows appended to it, or a later export whose name differs
    by its date only, meet the forecaster of before, and other histories do not.

    Args:
        data: File of the history; None: the bundled one.
        source: Schema of the history, which names the bundled one.
        asked: Name that the config gives (`registry_name`), for two files of one name.

    Returns:
        `asked`, else `upgrades-duration-<stem of the file>`, in lower case with dashes and
        without dates; of `events` the folder's name, which is the fleet's.
    """
    if asked:
        return asked
    own = ""
    if data is not None:
        own = _plain(_DATE.sub("", data.stem))
        if own in ("", _PAST_OF_A_FLEET):
            own = _plain(data.absolute().parent.name) or own
    return f"upgrades-duration-{own or _plain(source)}"


def card_of(
    model: DurationModel,
    policy: Policy,
    history: History,
    features: FeatureTable,
    split: Split,
    levels: tuple[float, ...],
    costs: CostModel,
    window_s: int,
) -> ModelCard:
    """Describe a fitted forecaster."""
    return ModelCard(
        forecaster=model.name,
        digest=model.digest,
        policy=PolicyCard(**policy.__dict__),
        levels=levels,
        features=features.names,
        categories=features.categories,
        source=history.source,
        history_digest=history.digest,
        known_until_s=split.test_from_s,
        costs=costs,
        window_s=window_s,
    )


def recoded(features: FeatureTable, card: ModelCard) -> FeatureTable:
    """Return features with the codes that the registered forecaster knows.

    Labels get their code of then; labels it never saw get codes above all of them, which every
    forecaster treats as unseen.

    Raises:
        CardMismatchError: The columns differ.
    """
    if features.names != card.features:
        missing = sorted(set(card.features) - set(features.names))
        added = sorted(set(features.names) - set(card.features))
        raise CardMismatchError(
            f"the registered {card.forecaster} was fitted on {len(card.features)} features of a "
            f"{card.source} history; missing here: {', '.join(missing) or 'none'}, unknown to "
            f"it: {', '.join(added) or 'none'}; fit a forecaster on this history"
        )
    matrix = features.matrix.copy()
    for name, labels in features.categories.items():
        known = {label: code for code, label in enumerate(card.categories[name])}
        code = np.array(
            [known.get(label, len(known) + place) for place, label in enumerate(labels)]
        )
        column = features.names.index(name)
        matrix[:, column] = code[features.codes(name)]
    categories = {
        name: (*card.categories[name], *(f"unseen {label}" for label in labels))
        for name, labels in features.categories.items()
    }
    return replace(features, matrix=matrix, categories=categories)


def feature_frame(features: FeatureTable) -> pd.DataFrame:
    """Features as a table, for callers outside: the columns and `decision_s` (int64)."""
    frame = pd.DataFrame(features.matrix, columns=list(features.names))
    frame[DECISION] = features.decision_s
    return frame


def features_from(frame: pd.DataFrame, card: ModelCard) -> FeatureTable:
    """Turn the table of a caller back into features; inverse of `feature_frame`.

    Raises:
        CardMismatchError: A column is missing.
    """
    missing = [name for name in (*card.features, DECISION) if name not in frame.columns]
    if missing:
        raise CardMismatchError(
            f"the table lacks {', '.join(missing)}; a registered {card.forecaster} needs the "
            "columns of its signature"
        )
    matrix = frame[list(card.features)].to_numpy(np.float32)
    return FeatureTable(
        matrix, card.features, dict(card.categories), frame[DECISION].to_numpy(np.int64)
    )


def calibration_table(model: DurationModel) -> pd.DataFrame:
    """The margins of a calibrated forecaster; no rows for one without."""
    if isinstance(model, CalibratedModel):
        return model.margins
    return pd.DataFrame(columns=["as_of_s", "type", "n_tasks"])


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "-", name.lower()).strip("-")
