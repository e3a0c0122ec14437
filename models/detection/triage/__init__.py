"""Where in untrusted results somebody asks an agent for something.

sentences.py   sentences and their features
spans.py       a linear model over them
blocks.py      instruction blocks of a result, apart from its data
within.py      which of many texts stand in another, in one pass
"""
