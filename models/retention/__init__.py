"""What is thrown away when it is old, and what never is: plain rules over what a store lists.

config.py  how old is old    rules.py  which runs go    files.py  cached files and sizes
page.py    what went, what stays, what grows
"""

from models.retention.config import CleanUpConfig
from models.retention.files import Folder, folders_of, old_files, remove_files
from models.retention.page import CleanUp, clean_up_page
from models.retention.rules import KEEP_TAG, RecordedRun, old_runs

__all__ = [
    "KEEP_TAG",
    "CleanUp",
    "CleanUpConfig",
    "Folder",
    "RecordedRun",
    "clean_up_page",
    "folders_of",
    "old_files",
    "old_runs",
    "remove_files",
]
