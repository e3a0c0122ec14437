"""Who starts a task: a calendar, a calendar whose holes are filled, or a free lane.

All three see the same line, judge a task by the same reservation and abort at the same
instant. A task fits if its reservation plus the time of a rollback is left in the window.

calendar.py  plans every start from reservations when the window opens and keeps to the
    plan. A start is never early; it is late while its lane, its host or all slots of its
    service are taken, and dropped (back in line, not counted) if that lasts until rollbacks
    begin. A late start keeps the slot of its service that it was planned to have.
backfill.py  makes the same plan; every planned start is a reservation. A lane that is free
    before its next planned start takes the first task in line that, by its own reservation,
    ends before that start and before the planned start that would find its service full,
    and whose host has no planned start to come. Late starts go lowest lane first.
line.py      online: when a lane frees, starts the first task in line that fits, whose host
    is up and whose service has a slot.

Online is EASY backfilling (Lifka 1995, "The ANL/IBM SP Scheduling System"): every task
takes one lane, so whatever holds the host or the slot that the head of the line waits for
frees a lane too when it ends, and no task can delay the head (where a host has one service).
Backfill is the conservative form of Mu'alem & Feitelson (2001, IEEE TPDS 12(6)), in which
every planned task has a reservation; but starts do not move forward: owners were told them.

base.py has the arrays, windows.py runs window after window. Compiled by numba, since a
choice is made a million times: it costs O(services + log tasks) by a tree of least needs,
and O(log tasks) for each other task of a busy host. Import it inside functions: numba takes
a second to load and, once for each version of these files, a quarter of a minute to compile.
"""
