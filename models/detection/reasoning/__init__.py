"""The detector of a session.

links.py      each call beside the block that explains it best, as features
answers.py    what an agent says because a result told it to
trees.py      boosted trees without their library
detector.py   Detector.examine: a session in, a verdict out
train.py      its training
"""
