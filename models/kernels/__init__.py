"""Kernels: write Triton kernels for a whole operator backend, and count only what is proven.

After TritorX (Meta, MLSys 2026, arXiv 2512.10977), of which no code is public. The linter here
is stricter than the paper's, whose accepted wrappers call other operators as tensor methods.

candidate.py   one generated module, its hash and how it is loaded
profiles.py    what a device offers; device_profiles/ holds one YAML per device and dialect
lint/          what a generated module may say, before anything of it runs
"""

from models.kernels.candidate import IMPORT_HEADER, KernelCandidate, load_module, source_sha
from models.kernels.lint import LintReport, Signature, Violation, lint_candidate, lint_text
from models.kernels.profiles import DeviceProfile, find_profile, profile_names

__all__ = [
    "IMPORT_HEADER",
    "DeviceProfile",
    "KernelCandidate",
    "LintReport",
    "Signature",
    "Violation",
    "find_profile",
    "lint_candidate",
    "lint_text",
    "load_module",
    "profile_names",
    "source_sha",
]
