"""Credentials in text: found by form, or by how they are assigned; struck out.

rules.py     forms of providers (rules.toml)     checks.py  what a form alone does not say
assigned.py  values that are assigned like one   scan.py    both over one text, by an automaton
files.py     files and folders                   generate.py  texts with planted ones, for figures
"""

from models.detection.secrets.scan import Certainty, Finding, SecretScanner

__all__ = ["Certainty", "Finding", "SecretScanner"]
