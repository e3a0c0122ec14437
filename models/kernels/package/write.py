"""Write a package: whole or not at all, and the same bytes for the same entries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel

from models.errors import DataError
from models.kernels.candidate import IMPORT_HEADER
from models.kernels.package.folder import FolderTakenError, is_free, write_folder
from models.kernels.package.meta import FORMAT, LICENCE, Manifest, ManifestOperator, PackageEntry
from models.kernels.package.order import dependency_order

HEADER = f"# SPDX-License-Identifier: {LICENCE}\n{IMPORT_HEADER}"
"""Before the author's text: with it, kernel.py is a module that Python imports."""
MANIFEST = "manifest.json"
OPERATORS = "operators"
NOTICE = f"""\
The kernels in this folder were generated and are licensed under {LICENCE}
(http://www.apache.org/licenses/LICENSE-2.0). They need PyTorch (BSD-3-Clause) and Triton (MIT),
of which no part is included. `manifest.json` holds the SHA-256 of every file.
"""


def current_versions() -> dict[str, str]:
    """Return the versions that evidence of this process is made with."""
    from models.kernels.harness.run import HARNESS_VERSION
    from models.kernels.lint.base import RULES_VERSION

    found = {"harness": HARNESS_VERSION, "lint": RULES_VERSION}
    for name in ("torch", "triton"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_package(
    folder: Path,
    entries: Iterable[PackageEntry],
    *,
    name: str = "kernels",
    profile: str = "interpreter",
    versions: Mapping[str, str] | None = None,
    replace: bool = False,
) -> Manifest:
    """Write one folder per operator and a manifest with the hash of every file.

    No reader sees a part of a package; see `write_folder`.

    Args:
        folder: Where the package goes.
        entries: One per operator.
        name: Of the package.
        profile: Device profile of the tests.
        versions: What the evidence was made with; None: what is installed.
        replace: Whether a package that is there already may go.

    Raises:
        DependencyError: A module calls one that is missing, or calls form a circle.
        FolderTakenError: `folder` holds something else, or a package and `replace` is off.
        StorageFullError: The disk is full.
        DataError: Two entries for one operator.
    """
    by_name: dict[str, PackageEntry] = {}
    for entry in sorted(entries, key=lambda entry: entry.meta.op_id):
        if by_name.setdefault(entry.meta.op_id, entry) is not entry:
            raise DataError(
                f"two modules for {entry.meta.op_id}; a package holds one per operator, choose"
            )
    order = dependency_order({key: entry.meta.depends_on for key, entry in by_name.items()})
    _check_place(folder, replace)
    files = {"NOTICE": NOTICE.encode()}
    for key, entry in by_name.items():
        place = f"{OPERATORS}/{key}"
        files[f"{place}/kernel.py"] = kernel_file(entry.candidate.source)
        files[f"{place}/meta.json"] = json_bytes(entry.meta)
    manifest = Manifest(
        format=FORMAT, name=name, licence=LICENCE, profile=profile, header=HEADER,
        versions=dict(sorted((versions or current_versions()).items())),
        files={path: digest(content) for path, content in sorted(files.items())},
        operators={
            key: ManifestOperator(sha=entry.meta.sha, mode=entry.meta.mode,
                                  depends_on=entry.meta.depends_on)
            for key, entry in by_name.items()
        },
        order=order,
    )  # fmt: skip
    write_folder(folder, {**files, MANIFEST: json_bytes(manifest)}, replace)
    return manifest


def _check_place(folder: Path, replace: bool) -> None:
    if is_free(folder):
        return
    if not (folder / MANIFEST).is_file():
        raise FolderTakenError(f"{folder} exists and is no package; give a folder of its own")
    if not replace:
        raise FolderTakenError(
            f"{folder} holds a package already; give another folder or ask to replace it"
        )


def kernel_file(source: str) -> bytes:
    """Return the bytes of a kernel.py; surrogates of the author's text survive."""
    return (HEADER + source).encode("utf-8", "surrogatepass")


def digest(content: bytes) -> str:
    """Return SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def json_bytes(model: BaseModel) -> bytes:
    """Return JSON for people and version control: sorted, indented, a line break at the end."""
    values = model.model_dump(mode="json")
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()
