"""Detection: what AI agents are told, think and do, and what of it is an attack.

examiner.py  both tiers and all rules, one verdict; gathering.py, work.py, publish.py  a run of it
session/     Event, ToolCall, Session: a checked DAG of what happened
verdicts.py  Verdict with its Evidence; Signal of one rule; records.py  a session in a list
sensor/      logs of agent programs as sessions, kept whole; a tap on MCP servers; inventory
dataflow/    any result as texts, hidden ones too; where the values of a call come from
intent/      what a call does and what a text asks for, in the same terms
triage/      tier 1: sentences that ask for something, blocks of them, and those that lead away
reasoning/   tier 2: each call beside the order that explains it best; detector, training, judge
integrity/   servers: what they declare, what changed, their source; how they are used
policies/    rules of an operator        intel.py  techniques, and findings about them
context/     source, threats, policies as MCP servers
explorer/    a red team: attacks that are carried out and not noticed
scenarios/   generated sessions of many tools, attacked and not
evaluation/  labelled sessions, scores, trivial detectors
secrets/     credentials in any text: 119 forms, and values that are assigned like one
export/      spans, findings, SARIF      report/   pages of alerts, of all sessions
hook.py      a hook of coding agents: stops prompts and calls that carry a credential
guard.py     the same as an analyzer of our own agents, and calls that a result asked for
Source of the comparison: the ADR paper (MLSys 2026, industry track) and github.com/uber/ADR.
"""
