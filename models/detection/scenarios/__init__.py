"""Generated sessions: tasks and attacks over many tools.

operations.toml, tasks.toml, goals.toml, wrappers.toml, fillers.toml, cast.toml   what is declared
cast.py       names, addresses and dates of one scenario
shapes.py     results in the formats that tools write
generate.py   scenarios(seed, count)
coding.py     coding_sessions(seed, count), over source and documents; coding.toml
attacks.py    attack_sessions(seed, count): attacks of the explorer, drawn by chance
"""
