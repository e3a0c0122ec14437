"""A small job and what is recalled for it."""

from __future__ import annotations

import pytest

from models.sharding import Job, Slice, Workload, find_model
from models.sharding.knowledge import cases_of, leave_group_out, read_documents, recall
from models.sharding.planner import PlanContext
from models.sharding.published import read_published
from tests.models.sharding.planner.played import Diagnosed, as_if


@pytest.fixture(scope="session")
def job() -> Job:
    """Llama 3.1 8B on 16 v6e."""
    work = Workload(seq_len=4096, global_batch=64)
    return Job(find_model("llama3.1-8b"), work, Slice.parse("v6e:4x4"))


@pytest.fixture(scope="session")
def context(job: Job) -> PlanContext:
    """What is known, the job's own group left out; meshes rank as `as_if` says."""
    known = leave_group_out(job, read_documents(), cases_of(read_published().rows))
    diagnosis = Diagnosed()
    recalled = recall(job, known, diagnosis.sentences)
    return PlanContext(prior=as_if, correction=as_if, diagnosis=diagnosis, recalled=recalled)
