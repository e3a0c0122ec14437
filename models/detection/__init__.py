"""Detection: what AI agents are told, think and do, and what of it is an attack.

session/     Event, ToolCall, Session: a checked DAG of what happened
verdicts.py  Verdict with its Evidence
sensor/      logs of agent programs as sessions, kept whole; a tap on MCP servers; inventory
dataflow/    any result as texts, hidden ones too; where the values of a call come from
intent/      what a call does and what a text asks for, in the same terms
triage/      sentences that ask for something, blocks of them, and those that lead away
reasoning/   each call beside the order that explains it best; the detector and its training
scenarios/   generated sessions of many tools, attacked and not
evaluation/  labelled sessions, scores, trivial detectors
secrets/     credentials in any text: 119 forms, and values that are assigned like one
hook.py      a hook of coding agents: stops prompts and calls that carry a credential
guard.py     the same as an analyzer of our own agents
Source of the comparison: the ADR paper (MLSys 2026, industry track) and github.com/uber/ADR.
"""
