"""Generated sessions: tasks and attacks over many tools.

operations.toml, tasks.toml, goals.toml, wrappers.toml, fillers.toml, cast.toml   what is declared
cast.py       names, addresses and dates of one scenario
shapes.py     results in the formats that tools write
generate.py   scenarios(seed, count)
"""
