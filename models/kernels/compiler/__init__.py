"""Compile stage: generated kernels through Triton's real compilers, no GPU needed.

result.py   CompileResult          errors.py   classes of failures, excerpts, lines
worker.py   the compiling process  pool.py     workers with time-outs; `compile_kernel`
dialect.py  what a virtual device refuses, read off Triton's IR
resources.py  registers, spills, shared memory of cubins and hsaco
"""

from models.kernels.compiler.pool import CompilePool, compile_kernel
from models.kernels.compiler.result import CompileResult

__all__ = ["CompilePool", "CompileResult", "compile_kernel"]
