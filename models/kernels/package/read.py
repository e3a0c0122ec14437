"""Read a package: every file is checked against the manifest before any of it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from models.errors import DatasetMissingError, DatasetUnreadableError, unknown_name
from models.kernels.candidate import KernelCandidate, load_module, source_sha
from models.kernels.package.meta import FORMAT, Manifest, OperatorMeta
from models.kernels.package.order import DependencyError, called_by, dependency_order
from models.kernels.package.write import MANIFEST, OPERATORS, digest

_Model = TypeVar("_Model", bound=BaseModel)


class PackageMissingError(DatasetMissingError):
    """There is no package where one was asked for, or only part of one."""


class PackageDamagedError(DatasetUnreadableError):
    """A package does not hold what its manifest says."""


@dataclass(frozen=True)
class Package:
    """A verified package, in memory: later changes of its files do not reach it."""

    folder: Path
    manifest: Manifest
    metas: dict[str, OperatorMeta]
    sources: dict[str, str]
    sha: str
    """SHA-256 of the manifest, and through it of everything."""

    @property
    def operators(self) -> tuple[str, ...]:
        """Names, each after those it depends on."""
        return self.manifest.order

    def __contains__(self, op_id: object) -> bool:
        """Whether the package has a module for an operator."""
        return op_id in self.metas

    def __len__(self) -> int:
        """Return the number of operators."""
        return len(self.metas)

    def meta(self, op_id: str) -> OperatorMeta:
        """Return what is written down of an operator.

        Raises:
            UnknownNameError: The package has no module for it.
        """
        if op_id not in self.metas:
            near = [name for name in self.metas if op_id.lower() in name.lower()]
            raise unknown_name("operator", op_id, near[:8] or sorted(self.metas)[:5],
                               f"the package has {len(self.metas)} operators")  # fmt: skip
        return self.metas[op_id]

    def candidate(self, op_id: str) -> KernelCandidate:
        """Return an operator's module.

        Raises:
            UnknownNameError: The package has no module for it.
        """
        return self.meta(op_id).candidate(self.sources[op_id])

    def dependencies(self, op_id: str) -> tuple[KernelCandidate, ...]:
        """Return what a module calls, directly or not, each after those it depends on."""
        self.meta(op_id)
        graph = {name: meta.depends_on for name, meta in self.metas.items()}
        return tuple(self.candidate(name) for name in called_by(op_id, graph))

    def wrapper(self, op_id: str, folder: Path) -> Callable[..., Any]:
        """Return an operator's function; loads its module and those it calls into this process.

        Args:
            op_id: The operator.
            folder: Where the files that Triton reads stay.
        """
        loaded: dict[str, Callable[..., Any]] = {}
        for one in (*self.dependencies(op_id), self.candidate(op_id)):
            loaded[one.op_id] = load_module(one, folder, loaded).wrapper
        return loaded[op_id]


def read_package(folder: Path, sha: str | None = None) -> Package:
    """Read and verify a package.

    Args:
        folder: As written by `write_package`.
        sha: `Package.sha` that it must have; None: any. Files are checked either way, but who
            can write the manifest can write anything.

    Raises:
        PackageMissingError: No folder, no manifest, or a file that the manifest names is gone.
        PackageDamagedError: A file differs, is not in the manifest, or contradicts it.
    """
    if not folder.is_dir():
        raise PackageMissingError(f"no package at {folder}; write one, or give another folder")
    if not (folder / MANIFEST).is_file():
        raise PackageMissingError(
            f"{folder} has no {MANIFEST}: it is no package, or part of one; copy it again whole"
        )
    raw = (folder / MANIFEST).read_bytes()
    if sha is not None and digest(raw) != sha:
        raise PackageDamagedError(
            f"package {folder} is {digest(raw)[:12]}.., asked for {sha[:12]}..; it was written "
            "again or changed: take the one that the evidence is of"
        )
    manifest = _parsed(Manifest, raw, folder / MANIFEST)
    if manifest.format != FORMAT:
        raise PackageDamagedError(
            f"package {folder} has format {manifest.format}, this version reads {FORMAT}; write "
            "it again"
        )
    contents = _verified(folder, manifest)
    metas, sources = {}, {}
    for op_id in manifest.operators:
        metas[op_id], sources[op_id] = _operator(folder, op_id, manifest, contents)
    try:
        order = dependency_order({name: meta.depends_on for name, meta in metas.items()})
    except DependencyError as error:
        raise PackageDamagedError(f"package {folder}: {error}") from None
    if order != manifest.order:
        raise PackageDamagedError(
            f"package {folder}: the manifest's order is not that of its dependencies; write it "
            "again"
        )
    return Package(folder, manifest, metas, sources, digest(raw))


def _verified(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Return the bytes of all files, which are those that the manifest names."""
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and "__pycache__" not in path.parts
    } - {MANIFEST}
    if gone := sorted(set(manifest.files) - there):
        raise PackageMissingError(
            f"package {folder} lacks {len(gone)} of {len(manifest.files)} files, the first is "
            f"{gone[0]}; copy it again whole"
        )
    if alien := sorted(there - set(manifest.files)):
        raise PackageDamagedError(
            f"package {folder} holds {alien[0]}, which its manifest does not name; remove it"
        )
    contents = {}
    for path, expected in manifest.files.items():
        if (folder / path).is_symlink():
            raise PackageDamagedError(f"{folder / path} is a link; a package holds files only")
        contents[path] = (folder / path).read_bytes()
        if (found := digest(contents[path])) != expected:
            raise PackageDamagedError(
                f"{folder / path} was changed: its hash is {found[:12]}.., the manifest says "
                f"{expected[:12]}..; take the package again from where it was written"
            )
    return contents


def _operator(
    folder: Path, op_id: str, manifest: Manifest, contents: dict[str, bytes]
) -> tuple[OperatorMeta, str]:
    place = f"{OPERATORS}/{op_id}"
    for file in ("kernel.py", "meta.json"):
        if f"{place}/{file}" not in contents:
            raise PackageDamagedError(
                f"package {folder} names {op_id} but no {place}/{file}; write it again"
            )
    meta = _parsed(OperatorMeta, contents[f"{place}/meta.json"], folder / place / "meta.json")
    text = contents[f"{place}/kernel.py"].decode("utf-8", "surrogatepass")
    source = text.removeprefix(manifest.header)
    line = manifest.operators[op_id]
    facts = {
        "header": (text.startswith(manifest.header), True),
        "name": (meta.op_id, op_id),
        "source": (source_sha(source), line.sha),
        "described source": (meta.sha, line.sha),
        "mode": (meta.mode, line.mode),
        "dependencies": (meta.depends_on, line.depends_on),
    }
    for what, (found, due) in facts.items():
        if found != due:
            raise PackageDamagedError(
                f"{folder / place}: the {what} is {found}, the manifest says {due}; write the "
                "package again"
            )
    return meta, source


def _parsed(kind: type[_Model], raw: bytes, file: Path) -> _Model:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PackageDamagedError(
            f"{file} cannot be read: {where + ': ' if where else ''}{first['msg']}; take the "
            "package again from where it was written"
        ) from None
