"""The planner's inner loops as machine code (numba): import inside functions.

sort.py  lexicographic order and longest common prefixes   tree.py  LCP-interval tree, counts
choose.py  which prefixes to compute: exact, and the paper's rule
forest.py  budget, order, members of groups                steps.py  the engine's steps, played
fill.py  made-up prompts

Loading numba takes a second and, once for each version of these files, compiling some more.
"""
