"""Pages for people: one per alert, one of all sessions; no network, nothing but HTML and SVG.

alert.py  what was told, what was done, why it is an alert    chain.py  the evidence, drawn
fleet.py  sessions, alerts, techniques, coverage              style.py  colours and frame
"""
