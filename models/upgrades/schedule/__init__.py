"""Placing upgrades: precedence.py (what must come first on a host), pack.py (a plan of a
history), dispatch.py (who starts a task inside one window). For fleets: base.py (Problem,
Solver), gains.py (what a start is worth), board.py (what is placed), order.py, greedy.py,
down.py (hosts down per service), classes.py over programme.py (counts of like tasks), repair.py
over neighbourhood.py and neighbourhood_model.py (some tasks at a time, CP-SAT), bound.py and
floors.py (upper bounds).
"""
