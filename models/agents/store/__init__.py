"""Where conversations live: a commit is one transaction over events, head, status and calls.

base.py the protocols    log.py what every log does    sqlite.py one WAL file per conversation
memory.py for tests and one-shots    group.py one fsync for many commits    lease.py who may run
jsonl.py byte-stable export    catalog.py listing many    schema.py, tables.py  what files hold
making.py new files    salvage.py damaged ones    sqlite_log.py, sqlite_rows.py one file
checking.py all that is wrong with one    seal.py encryption at rest
"""

from models.agents.store.base import Damage, Durability, Log, Store, Summary
from models.agents.store.memory import MemoryStore
from models.agents.store.seal import new_key
from models.agents.store.sqlite import SqliteStore

__all__ = [
    "Damage",
    "Durability",
    "Log",
    "MemoryStore",
    "SqliteStore",
    "Store",
    "Summary",
    "new_key",
]
