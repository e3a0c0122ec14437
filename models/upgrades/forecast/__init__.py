"""Duration forecasts: rules of thumb, boosted quantile trees, rolling conformal margins.

base.py (the DurationModel protocol) distribution.py heuristics.py quantile_trees.py
conformal.py build.py (every forecaster by name) score.py (pinball loss and coverage)
remaining.py (how much longer a running task needs).
"""
