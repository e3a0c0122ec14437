"""Attacks played in AgentDojo's environments, an extra: theirs are data, tools and the verdict.

scenes.py     which of its tasks and places stand for a genome, from ../agentdojo.toml
suites.py     a suite of AgentDojo: environments with texts in their places, tools, tasks
stage.py      one session played, success as AgentDojo's own check says
worker.py     the same in a process of its own, without network
executor.py   what the search uses
Source: Debenedetti et al. (2024), "AgentDojo: A Dynamic Environment to Evaluate Prompt Injection
Attacks and Defenses for LLM Agents"; package agentdojo (MIT).
"""
