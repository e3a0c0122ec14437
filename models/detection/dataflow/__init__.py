"""Where the values of a call come from.

leaves.py   any result as the texts within it
views.py    a text without what hides it, and what is encoded in it
dates.py    dates as people write them
values.py   values of arguments, and which text covers each
"""
