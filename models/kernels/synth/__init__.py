"""The synthesizer: from an operator's calls to a module, by rules of families.

structure.py  structure keys of calls        calls.py       signatures, binding of samples
trace.py      symbolic traces                decompose.py   decompositions of our own
lower.py      values, launches, programs     layout.py      indices and addresses
expression.py SSA text of kernels            scalar.py, promotion.py  scalar rules and types
emit/         rules by family                devlib/        device math in plain tl
host.py       sizes as host text             schedule.py    block sizes, accumulation
refusals.py   errors of the classes of ATen where no program serves a call
module.py     one module per operator        census.py, examine.py  which operators are served
"""
