"""The explorer: a red team that searches for attacks which are carried out and not noticed.

genome.py     an attack as genes, mutation, crossover      declared.py   what is declared in *.toml
disguise.py   ways to hide a text, and to read it          payload.py    the attacker's text
world.py      the state that tools work on                 toolbox.py    tools under drawn names
plan.py       what the user asks for                       victim.py     the model of an agent
execute.py    one attack played, success read off the state
record.py     what is written down of that             executor.py   where attacks are played
dojo/         the same in AgentDojo's environments, an extra
serve.py, through_agents.py   the same over a real MCP server, by an agent of `models/agents`
natural.py, fitness.py   what an attack is worth           archive.py    MAP-Elites, checkpoints
explore.py    the search, and random search beside it      publish.py    findings, intel
generation.py figures of a generation
report.py, charts.py   its page                            config.py     what defines a search
harden.py     a detector trained again with what got past it
Source: ADR (MLSys 2026), section on the Explorer; Mouret & Clune (2015), "Illuminating search
spaces by mapping elites".
"""
