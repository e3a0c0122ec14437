"""Texts in files as editing tools see them: encoding and line ends kept, binary refused."""

from __future__ import annotations

import codecs
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from models.agents.errors import ToolError
from models.agents.tools.context import ToolContext
from models.errors import ProjectError
from models.sandbox import Files
from models.sandbox.files import TooLargeError

MOST_BYTES = 10_000_000
"""Larger files are no texts that a model edits."""
_LOOK_BYTES = 8192
_UNDO_STEPS = 20
_UNDO_BYTES = 20_000_000

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"),
          (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip


@dataclass(frozen=True)
class Text:
    """A text as it was read.

    Attributes:
        text: With line feeds only.
        encoding: What it is written back in.
        newline: What ends its lines in the file.
        mark: Bytes before the text.
    """

    text: str
    encoding: str = "utf-8"
    newline: str = "\n"
    mark: bytes = b""

    @classmethod
    def of(cls, content: bytes, path: str) -> Text:
        """Decode a file.

        Raises:
            ToolError: It is binary.
        """
        mark, encoding = next(
            ((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8")
        )
        body = content[len(mark) :]
        if encoding == "utf-16":
            encoding = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
        elif b"\0" in body[:_LOOK_BYTES]:
            raise ToolError(
                f"{path} is a binary file; look at it with terminal commands (file, xxd)"
            )
        else:
            encoding = "utf-8"
        try:
            text = body.decode(encoding)
        except UnicodeDecodeError:
            # Every byte is a character there: what is not edited comes back as it was.
            encoding, text = "latin-1", body.decode("latin-1")
        # A file with both kinds of line ends keeps them: it is taken as it is.
        is_dos = "\r\n" in text and "\n" not in text.replace("\r\n", "")
        if is_dos:
            return cls(text.replace("\r\n", "\n"), encoding, "\r\n", mark)
        return cls(text, encoding, "\n", mark)

    def with_text(self, text: str) -> bytes:
        """Encode another text the way this one was.

        Raises:
            ToolError: The file's encoding lacks one of its characters.
        """
        if self.newline == "\r\n":
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        try:
            return self.mark + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ToolError(
                f"the file is in {self.encoding}, which has no {text[error.start]!r}; use another "
                "character, or convert the file first (iconv)"
            ) from None


class History:
    """What files were before edits, for undo."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, bytes | None]] = []

    def add(self, path: str, before: bytes | None) -> None:
        """Note what a file was; None: it was not there."""
        self._steps.append((path, before))
        while len(self._steps) > _UNDO_STEPS or self._bytes() > _UNDO_BYTES:
            self._steps.pop(0)

    def _bytes(self) -> int:
        return sum(len(before or b"") for _, before in self._steps)

    def take(self, path: str) -> bytes | None:
        """Return what a file was before its last edit, and forget that edit.

        Raises:
            ToolError: No edit of it is known.
        """
        for at in range(len(self._steps) - 1, -1, -1):
            if self._steps[at][0] == path:
                return self._steps.pop(at)[1]
        raise ToolError(f"no edit of {path} is known that could be taken back")


def files_of(ctx: ToolContext) -> Files:
    """Return the files of the workspace."""
    files: Files = ctx.workspace.sandbox.files
    return files


def history_of(ctx: ToolContext) -> History:
    """Return what is known of earlier edits in this conversation."""
    return ctx.session.get("edits", History)


def key_of(ctx: ToolContext, path: str) -> str:
    """Return the one spelling of a path under which its edits are kept."""
    return os.path.normpath(os.path.join(ctx.workspace.root, path))


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """Turn what files raise into words for the model."""
    try:
        yield
    except FileNotFoundError as error:
        raise ToolError(f"{path} does not exist") from error
    except TooLargeError as error:
        raise ToolError(
            f"{error}; look at parts of it with terminal commands (sed -n, head, grep)"
        ) from error
    except ProjectError as error:
        raise ToolError(str(error)) from error
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}; nothing was changed") from error


def read_text(ctx: ToolContext, path: str) -> tuple[Text, bytes]:
    """Read a text file.

    Raises:
        ToolError: There is none, or it is binary, huge, or outside the workspace.
    """
    with told(path):
        content = files_of(ctx).read(path, most_bytes=MOST_BYTES)
    return Text.of(content, path), content


def write_bytes(ctx: ToolContext, path: str, content: bytes, before: bytes | None) -> None:
    """Write a file in one step and note what it was."""
    with told(path):
        files_of(ctx).write(path, content)
    history_of(ctx).add(key_of(ctx, path), before)


def numbered(text: str, first: int = 1) -> str:
    """Write lines with their numbers, as `cat -n` does."""
    lines = text.split("\n")
    if lines[-1] == "" and len(lines) > 1:
        lines.pop()
    return "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, first))
