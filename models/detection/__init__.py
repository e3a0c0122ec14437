"""Detection: what AI agents are told, think and do, and what of it is an attack.

secrets/   credentials in any text: 119 forms, and values that are assigned like one
hook.py    a hook of coding agents: stops prompts and calls that carry a credential
guard.py   the same as an analyzer of our own agents
Source of the comparison: the ADR paper (MLSys 2026, industry track) and github.com/uber/ADR.
"""
