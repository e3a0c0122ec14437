"""The detector of a session.

told.py       what an agent was told so far
links.py      each call beside the block that explains it best, as features
answers.py    what an agent says because a result told it to
explained.py  what of a call an order explains, and what is only a step
trees.py      boosted trees without their library
detector.py   Detector.examine: a session in, a verdict out
train.py      its training
"""
