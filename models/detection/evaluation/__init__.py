"""How well sessions are judged.

labelled.py   labelled sessions: what may be read, apart from what is known
score.py      scores, and trivial detectors
sessions.py   the protocols of the benchmark
"""
