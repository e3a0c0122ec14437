"""Which sentences of a result ask somebody to act: a linear model over words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.detection.triage.sentences import BUCKETS, DENSE, features


@dataclass(frozen=True)
class SpanModel:
    """Weights of a logistic regression.

    Attributes:
        words: Of hashed words, shape (BUCKETS,).
        dense: Of the other features, shape (DENSE,).
        bias: What an empty sentence has.
    """

    words: NDArray[np.float64]
    dense: NDArray[np.float64]
    bias: float

    def __post_init__(self) -> None:
        """Check the shapes."""
        if self.words.shape != (BUCKETS,) or self.dense.shape != (DENSE,):
            raise ValueError(f"weights of {self.words.shape} and {self.dense.shape}")

    def score(self, sentence: str) -> float:
        """Return the chance that a sentence is an instruction, in [0, 1]."""
        return _scored(self, sentence)

    def __hash__(self) -> int:
        """Hash by identity: models are not compared."""
        return id(self)


# A sentence is asked about by two models, one after the other.
_featured = lru_cache(maxsize=4_096)(features)


@lru_cache(maxsize=20_000)
def _scored(model: SpanModel, sentence: str) -> float:
    buckets, dense = _featured(sentence)
    length = np.sqrt(len(buckets))
    logit = model.bias + model.words[buckets].sum() / length + dense @ model.dense
    return float(1 / (1 + np.exp(-logit)))


def fit_spans(
    asking: Sequence[str],
    telling: Sequence[str],
    code: Sequence[str] = (),
    *,
    code_weight: float = 0.1,
    strength: float = 1.0,
) -> SpanModel:
    """Fit the model to sentences that ask for something and sentences that do not.

    Args:
        asking: Sentences of the one kind.
        telling: Sentences of the other.
        code: Of the other too, from source and its documents: there is no end of them.
        code_weight: Weight of one of these against one of the others.
        strength: Inverse of the regularisation.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegression

    texts = [*asking, *telling, *code]
    rows, columns, values, others = [], [], [], []
    for row, sentence in enumerate(texts):
        buckets, dense = features(sentence)
        rows += [row] * len(buckets)
        columns += buckets.tolist()
        values += [1 / np.sqrt(len(buckets))] * len(buckets)
        others.append(dense)
    grams = csr_matrix((values, (rows, columns)), shape=(len(texts), BUCKETS))
    truth = np.r_[np.ones(len(asking)), np.zeros(len(telling) + len(code))]
    counts = np.r_[np.ones(len(asking) + len(telling)), np.full(len(code), code_weight)]
    # Both kinds weigh the same, as a whole.
    counts[truth == 1] *= counts[truth == 0].sum() / max(1, len(asking))
    counts *= len(texts) / counts.sum()
    model = LogisticRegression(C=strength, max_iter=2_000)
    model.fit(hstack([grams, csr_matrix(np.array(others))]).tocsr(), truth, counts)
    weights = model.coef_[0]
    return SpanModel(weights[:BUCKETS], weights[BUCKETS:], float(model.intercept_[0]))
