"""What a call does and what a text asks for, in the same terms.

words.py     verbs by their effect, nouns by what they name
actions.py   Action of a tool or a text, and how well two agree
"""
