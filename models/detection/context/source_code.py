"""The source of servers, for who judges them: bounded, credentials struck through."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.detection.integrity.source import facts_of
from models.detection.integrity.source_rules import source_findings
from models.detection.secrets import SecretScanner
from models.errors import DataError, unknown_name

LONGEST = 40_000
"""Characters of one answer."""
_LARGEST_BYTES = 5 * 1024**2
_ENDINGS = (".py", ".js", ".ts", ".mjs", ".cjs", ".go", ".rs", ".sh", ".json", ".toml", ".md")
_SKIPPED = frozenset((".git", "node_modules", "__pycache__", ".venv", "venv", "dist"))
_MOST_FILES = 500


class SourceContext:
    """Source of the servers of a machine.

    Args:
        roots: Folder or file of each server, by its name.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = {name: path.resolve() for name, path in roots.items()}
        self._scanner = SecretScanner()

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of the servers whose source is known."""
        return tuple(sorted(self._roots))

    def get_source_code(self, server: str, file: str = "", offset: int = 0) -> dict[str, Any]:
        """Return the source of a server.

        Args:
            server: Its name.
            file: One of its files; empty: which there are, and what is known of its Python files.
            offset: Character of the file to begin at.

        Returns:
            `files` and `findings`, or `text` with `next_offset` (None: it ends there).

        Raises:
            UnknownNameError: There is no such server.
            DataError: There is no such file of it.
        """
        root = self._roots.get(server)
        if root is None:
            raise unknown_name("server with known source", server, self.servers)
        files = self._files(root)
        if not file:
            found = source_findings(facts_of([root], self._base(root)), server)
            return {
                "server": server,
                "files": sorted(files),
                "findings": [
                    {
                        "rule": one.signal.evidence.rule, "level": one.level,
                        "place": f"{one.path}:{one.line}", "sentence": one.signal.evidence.sentence,
                    }
                    for one in found
                ],
            }  # fmt: skip
        # Only what was listed is read: no path leads out of the folder.
        if file not in files:
            raise DataError(
                f"server '{server}' has no file '{file}'; ask without `file` for a list"
            )
        text = files[file].read_bytes()[:_LARGEST_BYTES].decode("utf-8", "replace")
        text = self._scanner.redact(text)
        first = max(0, offset)
        piece = text[first : first + LONGEST]
        is_end = first + LONGEST >= len(text)
        return {
            "server": server, "file": file, "text": piece, "characters": len(text),
            "next_offset": None if is_end else first + LONGEST,
        }  # fmt: skip

    @staticmethod
    def _base(root: Path) -> Path:
        return root if root.is_dir() else root.parent

    def _files(self, root: Path) -> dict[str, Path]:
        if root.is_file():
            return {root.name: root}
        found: dict[str, Path] = {}
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if name not in _SKIPPED)
            for name in sorted(names):
                path = Path(folder, name)
                if path.suffix in _ENDINGS and not path.is_symlink() and len(found) < _MOST_FILES:
                    found[path.relative_to(root).as_posix()] = path
        return found
