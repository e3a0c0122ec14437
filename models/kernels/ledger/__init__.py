"""Ledger: raw outcomes of every evaluation, from which every figure is recomputed.

tables.py    the tables, opening, errors     file.py      transactions
store.py     what is written                 batches.py   batches, evaluations
rows.py      rows and figures                coverage.py  from raw outcomes to rows
export.py    JSON, Parquet
"""

from models.kernels.ledger.batches import Evaluation
from models.kernels.ledger.export import write_json, write_parquet
from models.kernels.ledger.rows import Coverage, CoverageRow, Headline, Question
from models.kernels.ledger.store import Ledger
from models.kernels.ledger.tables import LedgerError

__all__ = [
    "Coverage",
    "CoverageRow",
    "Evaluation",
    "Headline",
    "Ledger",
    "LedgerError",
    "Question",
    "write_json",
    "write_parquet",
]
