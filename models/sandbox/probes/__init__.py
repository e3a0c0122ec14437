"""Attempts to leave a sandbox, as functions whose text is run inside: see escape_probes.py.

network.py, paths.py, processes.py, kernel_calls.py, resources.py  one way out each
inside.py  what they use there
"""
