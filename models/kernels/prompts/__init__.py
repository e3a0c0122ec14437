"""What a language model is told, and how its answer becomes a module.

render.py     messages from templates/*.jinja: initial, resume, lint, compile, summarise, ...
quoting.py    output of programs as data that cannot pass for an instruction
parser.py     answer -> module: no fence, several modules, truncated, repeated, huge
repetition.py where a text starts to repeat itself
retrieval.py  related passing kernels    examples/  exp, argmax, diag, which pass lint and tests
Prompts are our own, after the structure that the TritorX paper describes (arXiv 2512.10977).
"""

from models.kernels.prompts.parser import ParsedAnswer, parse_answer
from models.kernels.prompts.quoting import quoted
from models.kernels.prompts.render import example_names, render
from models.kernels.prompts.retrieval import PassingKernel, passing_kernel, related_kernels

__all__ = [
    "ParsedAnswer",
    "PassingKernel",
    "example_names",
    "parse_answer",
    "passing_kernel",
    "quoted",
    "related_kernels",
    "render",
]
