"""Placing upgrades: precedence.py (what must come first on a host), pack.py (a rollout plan
over days of windows), dispatch.py (who starts a task inside one window).
"""
