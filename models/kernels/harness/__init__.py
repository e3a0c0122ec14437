"""Harness: test a candidate on samples, compared with ATen in another process.

run.py        samples, the test, its report    report.py     outcomes and their sums
batches.py    what identifies a batch, stores
reference.py  expected results                compare.py    values, tolerances, provenance
tolerance.py  torch.testing's and OpInfo's    gauge.py      results up to a sign
outcome.py    from raw words to an outcome
"""

from models.kernels.harness.batches import BatchKey, BatchResult, BatchStore, MemoryBatches
from models.kernels.harness.report import CrashReport, TestOutcome, TestReport
from models.kernels.harness.run import HARNESS_VERSION, Harness, SampleSet

__all__ = [
    "HARNESS_VERSION",
    "BatchKey",
    "BatchResult",
    "BatchStore",
    "CrashReport",
    "Harness",
    "MemoryBatches",
    "SampleSet",
    "TestOutcome",
    "TestReport",
]
