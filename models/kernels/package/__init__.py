"""Package: generated modules as files that anyone can read, verify and take away.

meta.py          what is written down of an operator      order.py     dependencies, acyclic
write.py         one folder per operator, a manifest      read.py      verified hashes
backendbench.py  the folders that BackendBench reads      importable.py  a plain Python package
folder.py        folders that appear whole or not at all
"""

from models.kernels.package.backendbench import BackendBenchExport, export_backendbench
from models.kernels.package.folder import FolderTakenError
from models.kernels.package.importable import export_importable
from models.kernels.package.meta import Manifest, OperatorMeta, PackageEntry, SuiteCount
from models.kernels.package.order import DependencyError, dependency_order
from models.kernels.package.read import (
    Package,
    PackageDamagedError,
    PackageMissingError,
    read_package,
)
from models.kernels.package.write import write_package

__all__ = [
    "BackendBenchExport",
    "DependencyError",
    "FolderTakenError",
    "Manifest",
    "OperatorMeta",
    "Package",
    "PackageDamagedError",
    "PackageEntry",
    "PackageMissingError",
    "SuiteCount",
    "dependency_order",
    "export_backendbench",
    "export_importable",
    "read_package",
    "write_package",
]
