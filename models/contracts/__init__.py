"""Datasets and their contracts: read a table, check it, keep the bad rows with a reason.

contract.py  what a dataset promises (`contract.yaml` beside the data)
table.py     read Parquet or CSV, or say clearly why not; digest of a file
check.py     types, reasons; quarantine or stop
rules.py     the rules of a contract, run by Great Expectations
"""

from models.contracts.check import CheckedTable, check_table
from models.contracts.contract import Contract, read_contract
from models.contracts.table import file_digest, read_table, refuse_nested

__all__ = [
    "CheckedTable",
    "Contract",
    "check_table",
    "file_digest",
    "read_contract",
    "read_table",
    "refuse_nested",
]
