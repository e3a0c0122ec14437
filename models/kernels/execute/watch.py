"""A hook of Python's own audit events: who asks for frames, objects of others, or raw memory.

It cannot be taken out again, and it sees calls through any name. Libraries may do these things;
a candidate may not, neither directly nor through the standard library.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from models.kernels.execute.builder import STATE
from models.kernels.execute.memory import SanitizerError, Violation

_EVENTS = frozenset({
    "sys._getframe", "sys._current_frames", "sys._current_exceptions", "sys.settrace",
    "sys.setprofile", "sys.addaudithook", "gc.get_objects", "gc.get_referrers",
    "gc.get_referents", "object.__setattr__", "object.__delattr__", "code.__new__",
    "function.__new__", "exec", "compile", "signal.pthread_kill",
})  # fmt: skip
_FRAMES = frozenset({"tb_frame", "gi_frame", "cr_frame", "ag_frame"})
"""Attributes that lead to a frame, and from it to the callers' variables."""


def _is_watched(event: str, args: tuple[Any, ...]) -> bool:
    if event == "object.__getattr__":
        return args[1] in _FRAMES
    return event in _EVENTS or event.startswith("ctypes.")


def install_watch(own_file: str, trusted: tuple[str, ...]) -> None:
    """Watch this process for the rest of its life.

    Args:
        own_file: Start of the paths of the candidates' modules.
        trusted: Starts of paths whose code may do anything; frames of other code (the standard
            library, text that was executed) are passed over, and who called it decides.
    """
    is_busy = False

    def is_candidate(frame: FrameType | None) -> bool:
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(own_file):
                return True
            if file.startswith(trusted):
                return False
            frame = frame.f_back
        return False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal is_busy
        if is_busy or not _is_watched(event, args):
            return
        is_busy = True
        try:
            if not is_candidate(sys._getframe(1)):
                return
            line = STATE.recorder.line() if STATE.recorder else 0
            kernel = STATE.recorder.kernel if STATE.recorder else ""
        finally:
            is_busy = False
        detail = f" of {args[1]}" if event.startswith("object.") else ""
        violation = Violation(
            "introspection",
            f"the module asks Python for {event}{detail}, which leads out of its own code",
            kernel, line,
        )  # fmt: skip
        STATE.caught.append(violation)
        raise SanitizerError(violation)

    sys.addaudithook(hook)
