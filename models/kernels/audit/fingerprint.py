"""What a report of tests depends on, in one hash: equal fingerprints, equal outcomes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from models.config import Config
from models.kernels.candidate import KernelCandidate, source_sha
from models.kernels.harness.run import SampleSet
from models.kernels.profiles import DeviceProfile


class Fingerprint(Config):
    """The inputs of a test run."""

    sha: str
    """Hash of the candidate's source."""
    depends_on: tuple[str, ...]
    """Hashes of the modules that it calls, in order of dependence."""
    op_id: str
    """Operator."""
    profile: str
    """Hash of the device profile, all of its fields."""
    suite: str
    """Suite of the samples."""
    seed_set: tuple[int, ...]
    """Seeds of the samples."""
    samples: str
    """Hash of their ids, arguments and expected results."""
    versions: dict[str, str]
    """torch, triton, numpy, scipy, harness."""

    @property
    def digest(self) -> str:
        """The whole as 64 hexadecimal digits."""
        return source_sha(self.model_dump_json())


def fingerprint_of(
    candidate: KernelCandidate,
    depends_on: tuple[str, ...],
    samples: SampleSet,
    profile: DeviceProfile,
    versions: dict[str, str],
) -> Fingerprint:
    """Return what a test of a candidate on samples depends on."""
    return Fingerprint(
        sha=candidate.sha, depends_on=depends_on, op_id=candidate.op_id,
        profile=source_sha(json.dumps(profile.model_dump(mode="json"), sort_keys=True)),
        suite=samples.suite, seed_set=(samples.seed,), samples=_hash_of(samples),
        versions=dict(sorted(versions.items())),
    )  # fmt: skip


def _hash_of(samples: SampleSet) -> str:
    described: list[dict[str, Any]] = sorted(samples.samples, key=lambda one: one["sample_id"])
    text = json.dumps(described, sort_keys=True, default=str).encode()
    whole = hashlib.sha256(text)
    whole.update(samples.inputs)
    whole.update(samples.expected)
    return whole.hexdigest()
