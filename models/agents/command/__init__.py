"""What `loom agent` does, apart from reading options.

working.py runs until an end, with signals and approvals    approvals.py  who decides without people
printing.py  events as text or JSON lines                   looking.py  lists, shows, replays
chatting.py  a talk at the keyboard                         place.py     the workspace's folder
mending.py   checks of logs, copies of what is sound, imports
deciding.py  a person who allows or refuses what waits
"""

from __future__ import annotations

FINISHED, FAILED, USAGE, WAITING, INTERRUPTED = 0, 1, 2, 3, 75
"""Exit codes. 75 is EX_TEMPFAIL of sysexits.h: start it again and it goes on."""
