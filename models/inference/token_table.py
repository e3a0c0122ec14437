"""Token ids of many prompts in two files on disk: flat ids and where each prompt begins."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from models.errors import DatasetMissingError, DatasetUnreadableError

IDS, OFFSETS, HEADER = "ids.bin", "offsets.npy", "tokens.json"
MAX_ID = 2**21 - 2
"""Largest token id that the planner's keys hold; vocabularies of today end near 2**18."""


@dataclass(frozen=True)
class TokenTable:
    """Prompts as flat token ids.

    Attributes:
        ids: All ids, shape (n_ids,), uint16 or uint32; a read-only map of a file, as a rule.
        offsets: Where prompts begin, shape (n_prompts + 1,), int64.
    """

    ids: NDArray[np.unsignedinteger[Any]]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, prompt: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return the ids of one prompt."""
        return self.ids[self.offsets[prompt] : self.offsets[prompt + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each prompt, shape (n_prompts,)."""
        return np.diff(self.offsets)

    @cached_property
    def digest(self) -> str:
        """sha256 over types, offsets and ids; reads everything once if not known yet."""
        return _digest(self.ids, self.offsets)

    @classmethod
    def from_lists(cls, prompts: Iterable[Sequence[int]], dtype: str = "uint16") -> TokenTable:
        """Build a small table in memory."""
        rows = [np.asarray(prompt, dtype) for prompt in prompts]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        ids = np.concatenate(rows) if rows else np.zeros(0, dtype)
        return cls(ids, offsets)

    @classmethod
    def open(cls, folder: Path) -> TokenTable:
        """Map a written table into memory.

        Raises:
            DatasetMissingError: No table lies in the folder.
            DatasetUnreadableError: Its files do not belong together.
        """
        try:
            header = orjson.loads((folder / HEADER).read_bytes())
            offsets = np.load(folder / OFFSETS)
            n_ids = int(offsets[-1])
            dtype = np.dtype(header["dtype"])
            found, wanted = (folder / IDS).stat().st_size, n_ids * dtype.itemsize
            if found != wanted:
                raise ValueError(f"{IDS} has {found} bytes, the offsets ask for {wanted}")
            # An empty file cannot be mapped.
            ids: NDArray[np.unsignedinteger[Any]] = np.zeros(0, dtype)
            if n_ids:
                ids = np.memmap(folder / IDS, dtype, "r", shape=(n_ids,))
        except FileNotFoundError as error:
            raise DatasetMissingError(
                f"no token table in {folder}: {Path(str(error.filename)).name} is missing; "
                "tokenise the requests again"
            ) from None
        except (ValueError, KeyError, IndexError, OSError) as error:
            raise DatasetUnreadableError(
                f"the token table in {folder} cannot be used ({error}); delete the folder and "
                "tokenise the requests again"
            ) from None
        table = cls(ids, offsets)
        # Known since the ids were written: hashing a gigabyte takes a second.
        table.__dict__["digest"] = header["digest"]
        return table

    def write(self, folder: Path) -> TokenTable:
        """Write the table to a folder and return it as a map of the files."""
        with TokenWriter(folder, self.ids.dtype.str) as writer:
            for begin in range(0, len(self), 65_536):
                offsets = self.offsets[begin : begin + 65_537]
                writer.add(self.ids[offsets[0] : offsets[-1]], np.diff(offsets))
        return TokenTable.open(folder)


class TokenWriter:
    """Writes a table prompt by prompt; only the lengths stay in memory."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.folder = folder
        self.dtype = np.dtype(dtype)
        self._lengths: list[NDArray[np.int64]] = []
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    def __enter__(self) -> TokenWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / HEADER).unlink(missing_ok=True)
        self._file = (self.folder / IDS).open("wb")
        return self

    def add(self, ids: NDArray[Any], lengths: Sequence[int] | NDArray[np.int64]) -> None:
        """Append prompts: their ids one after another, and how long each is."""
        assert self._file is not None
        data = np.ascontiguousarray(ids, self.dtype).data.cast("B")
        self._file.write(data)
        self._hash.update(data)
        self._lengths.append(np.asarray(lengths, np.int64))

    def __exit__(self, kind: object, *_: object) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if kind is not None:
            return
        lengths = np.concatenate([*self._lengths, np.zeros(0, np.int64)])
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        np.save(self.folder / OFFSETS, offsets)
        header = {"dtype": self.dtype.str, "digest": _seal(self._hash, self.dtype, offsets)}
        # Last: a table without its header was not finished.
        (self.folder / HEADER).write_bytes(orjson.dumps(header))


def dtype_for(vocabulary: int) -> str:
    """Return the smallest id type for a vocabulary of that many tokens."""
    return "uint16" if vocabulary <= 2**16 else "uint32"


def _digest(ids: NDArray[Any], offsets: NDArray[np.int64]) -> str:
    hasher = hashlib.sha256()
    hasher.update(np.ascontiguousarray(ids).data.cast("B"))
    return _seal(hasher, ids.dtype, offsets)


def _seal(hasher: Any, dtype: np.dtype[Any], offsets: NDArray[np.int64]) -> str:
    hasher.update(dtype.str.encode())
    hasher.update(offsets.data.cast("B"))
    return str(hasher.hexdigest())
