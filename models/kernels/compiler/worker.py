"""The compiling process: reads a request per line, answers with a result per line.

It is never in interpreter mode; the parent gives it a Triton cache of its own and ends it when
a compile takes too long. It loads generated modules under limits of memory and file size only,
for compilers have to start assemblers and write: lint before compiling.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from models.kernels.candidate import (
    HEADER_LINES,
    BrokenModuleError,
    KernelCandidate,
    load_module,
    source_sha,
)
from models.kernels.compiler.dialect import refusals
from models.kernels.compiler.errors import classify, trim
from models.kernels.compiler.resources import Resources, of_amdgcn, of_cubin
from models.kernels.compiler.result import CompileResult, Stage
from models.kernels.execute.orphans import end_with_the_asker
from models.kernels.profiles import DeviceProfile

_STAGES: tuple[tuple[str, Stage], ...] = (
    ("ttir", "ttir"), ("ttgir", "ttgir"), ("llir", "llir"), ("ptx", "assembly"),
    ("amdgcn", "assembly"), ("cubin", "binary"), ("hsaco", "binary"),
)  # fmt: skip
_DEBUG = re.compile(r"\.(loc|file|ident)\b|\$L__(tmp|func)|\.Ltmp|\.Lfunc")
"""Lines of assembly that only a debugger reads."""
_MEMORY_BYTES = 16 * 1024**3
"""Address space of the process: LLVM reserves a few GiB and uses less."""
_FILE_BYTES = 1024**3
_VIRTUAL = ("cuda", 80, 32)
"""Target whose front end stands in for a virtual dialect; only its IR is looked at."""


def compile_request(request: dict[str, Any], folder: Path) -> CompileResult:
    """Compile one kernel as asked; a failure is a result."""
    candidate = KernelCandidate.model_validate(request["candidate"])
    profile = DeviceProfile.model_validate(request["profile"])
    began = time.perf_counter()
    found: dict[str, Any] = {"stage_reached": "load", "ok": False}
    try:
        module = load_module(candidate, folder)
        kernel = getattr(module, request["kernel"])
        found |= _compiled(kernel, request, profile)
    except BrokenModuleError as error:
        found |= {"error_class": "syntax", "error_excerpt": trim(str(error), str(folder))}
    except AttributeError as error:
        found |= {"error_class": "name", "error_excerpt": trim(str(error), str(folder))}
    return CompileResult(
        sha=candidate.sha, kernel=request["kernel"], profile=profile.name,
        signature=request["signature"], elapsed_s=time.perf_counter() - began, **found,
    )  # fmt: skip


def _compiled(kernel: Any, request: dict[str, Any], profile: DeviceProfile) -> dict[str, Any]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, CompilationError

    constexprs = {name: _constexpr(value) for name, value in request["constexprs"].items()}
    source = ASTSource(kernel, request["signature"], constexprs)
    target = GPUTarget(*(profile.target or _VIRTUAL))
    # The default of fusing multiply and add differs between versions of Triton.
    options = {
        "num_warps": profile.block_policy.num_warps,
        **request["options"],
        "enable_fp_fusion": True,
    }
    if not profile.target:
        options["num_warps"] = 4
    try:
        compiled = triton.compile(source, target=target, options=options)
    except CompilationError as error:
        cause: BaseException = error
        while isinstance(cause.__cause__, CompilationError):
            cause = cause.__cause__
        return _failure(str(cause), cause, kernel)
    except Exception as error:
        stage: Stage = "ttir" if "PassManager" in str(error) or "ptxas" in str(error) else "load"
        return {
            **_failure(f"{type(error).__name__}: {error}", error, kernel),
            "stage_reached": stage,
        }
    seen: dict[str, Any] = dict(compiled.asm)
    if not profile.target:
        said = refusals(str(seen["ttir"]), profile)
        if said:
            return {
                "stage_reached": "ttir",
                "error_class": "dialect",
                "error_excerpt": "\n".join(said),
            }
        return {"ok": True, "stage_reached": "ttir", "sizes": _sizes(seen, ("ttir",))}
    used = _resources(seen)
    reached: Stage = "load"
    for name, stage in _STAGES:
        reached = stage if name in seen else reached
    return {
        "ok": reached == "binary", "stage_reached": reached,
        "sizes": _sizes(seen, tuple(name for name, _ in _STAGES)), "code_sha": _code_sha(seen),
        "registers": used.registers, "spilled_bytes": used.spilled_bytes,
        "shared_bytes": int(compiled.metadata.shared),
    }  # fmt: skip


def _constexpr(value: Any) -> Any:
    """Return a recorded constexpr; a type is written `tl.float32`."""
    if isinstance(value, str) and value.startswith("tl."):
        import triton.language as tl

        return getattr(tl, value.removeprefix("tl."))
    return value


def _sizes(artefacts: dict[str, Any], names: tuple[str, ...]) -> dict[str, int]:
    return {name: len(artefacts[name]) for name in names if name in artefacts}


def _code_sha(artefacts: dict[str, Any]) -> str | None:
    """Hash instructions only: where a line came from, and from which file, is no code."""
    text = artefacts.get("ptx") or artefacts.get("amdgcn")
    if text is None:
        return None
    code = str(text).partition(".section\t.debug")[0]
    kept = (line.partition("//")[0].partition(";;#")[0].strip() for line in code.splitlines())
    lines = [line for line in kept if line and not _DEBUG.match(line)]
    return source_sha("\n".join(lines))


def _resources(artefacts: dict[str, Any]) -> Resources:
    if "cubin" in artefacts:
        import triton

        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        return of_cubin(artefacts["cubin"], tool) if tool.is_file() else Resources()
    return of_amdgcn(str(artefacts["amdgcn"])) if "amdgcn" in artefacts else Resources()


def _failure(message: str, error: BaseException, kernel: Any) -> dict[str, Any]:
    node = getattr(error, "node", None)
    first = getattr(kernel, "starting_line_number", None)
    line = None
    if node is not None and hasattr(node, "lineno") and first is not None:
        source = getattr(error, "src", None)
        # A failure in a device helper counts lines of the helper's own source, from its `def` on.
        if source is None or source == kernel.src:
            above = next(
                n for n, text in enumerate(kernel.raw_src) if text.lstrip().startswith("def")
            )
            line = first + above + node.lineno - 1 - HEADER_LINES
    said = getattr(error, "error_message", None) or message
    return {
        "error_class": classify(f"{type(error).__name__}: {said}"),
        "error_line": line,
        "error_excerpt": trim(message),
    }


def main() -> None:
    """Answer requests until the input ends; answers go to the descriptor given as argument."""
    end_with_the_asker(sys.stdin.fileno())
    limits = {resource.RLIMIT_AS: _MEMORY_BYTES, resource.RLIMIT_FSIZE: _FILE_BYTES,
              resource.RLIMIT_CORE: 0}  # fmt: skip
    for name, most in limits.items():
        hard = resource.getrlimit(name)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (bound, bound))
    answers = os.fdopen(int(sys.argv[1]), "w")
    folder = Path(os.environ["TRITON_CACHE_DIR"]) / "modules"
    folder.mkdir(parents=True, exist_ok=True)
    import triton.compiler  # noqa: F401  Imported before the first request starts its clock.

    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        result = compile_request(json.loads(line), folder)
        answers.write(result.model_dump_json() + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
