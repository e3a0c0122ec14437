"""Whether servers are what they say, and whether agents use them as they were asked to.

manifests.py  what servers say that their tools are   pins.py  digests over time, approvals
shadowing.py, hidden.py   names that collide, descriptions that order or hide
usage.py      checks of a session: permissions.py, leaks.py, identities.py, memory.py, loads.py,
              lookalikes.py, merges.py, by request.py: what the user asked for, where a call reaches
contracts.py, conflicts.py, records.py   results against earlier ones and against each other
source.py     facts from a server's source, by its syntax tree alone: syntax.py, declared.py,
              taint.py, effects.py, conditions.py, mutations.py; source_rules.py what they say
scan.py       all of it over files and folders: configs.py, live.py, findings.py; page.py shows it
"""
