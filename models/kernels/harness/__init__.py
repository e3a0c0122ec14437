"""Harness: test a candidate on samples, compared with ATen in another process.

run.py        samples, batches, the report    report.py     outcomes and their sums
reference.py  expected results                compare.py    values, tolerances, provenance
tolerance.py  torch.testing's and OpInfo's    gauge.py      results up to a sign
outcome.py    from raw words to an outcome
"""

from models.kernels.harness.report import CrashReport, TestOutcome, TestReport
from models.kernels.harness.run import HARNESS_VERSION, Harness, SampleSet

__all__ = ["HARNESS_VERSION", "CrashReport", "Harness", "SampleSet", "TestOutcome", "TestReport"]
