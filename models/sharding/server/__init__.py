"""The room as a server of the Model Context Protocol: agents analyse, propose, verify, export.

asked.py  what each tool takes, checked      answers.py  what it answers, as plain values
serve.py  the server over standard streams
"""
