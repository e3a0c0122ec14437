"""The compiled kernel against plain torch, for every instruction set of this machine."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest
import torch

from models.errors import ConfigError
from models.inference.attention.base import Piece
from models.inference.attention.native import NativeAttention
from models.inference.attention.reference import ReferenceAttention
from models.inference.model.architecture import DecoderConfig
from models.inference.native import build
from models.inference.native.build import BuildError, load_library
from models.inference.native.symbols import Level
from tests.models.inference.engine_cases import tiny


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "inference" / "native"  # built once per test run


def levels(folder: Path) -> list[Level]:
    best = load_library(folder).loom_level()
    return [level for level in Level if level <= best]


class Both:
    """The same random steps through both implementations."""

    def __init__(self, config: DecoderConfig, folder: Path, level: Level, seed: int) -> None:
        self.config = config
        self.reference = ReferenceAttention(config, torch.float32)
        self.native = NativeAttention(config, folder, n_threads=2, level=level)
        self.draws = torch.Generator().manual_seed(seed)
        self.worst = 0.0

    def number(self, low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=self.draws))

    def span(self, capacity: int) -> tuple[object, object]:
        return self.reference.new_span(capacity), self.native.new_span(capacity)

    def step(self, rows: list[tuple[int, tuple | None, tuple]]) -> None:
        """Run one step of (rows, prefix, own) and note the largest difference."""
        c, at = self.config, 0
        pieces: tuple[list[Piece], list[Piece]] = ([], [])
        for n, prefix, own in rows:
            for side in (0, 1):
                shared = None if prefix is None else prefix[side]
                pieces[side].append(Piece(slice(at, at + n), shared, own[side]))
            at += n
        steps = self.reference.open(pieces[0]), self.native.open(pieces[1])
        width = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
        gains = (None, None)
        if c.has_qk_norm:
            gains = tuple(
                (1 + torch.randn(c.head_dim, generator=self.draws) / 8).bfloat16() for _ in "qk"
            )
        for layer in range(c.n_layers):
            qkv = torch.randn(at, width, generator=self.draws).bfloat16()
            wide = (gain if gain is None else gain.float() for gain in gains)
            exact = steps[0].attend(layer, qkv.float(), *wide)
            given = qkv.to(self.native.level.activations)
            error = (steps[1].attend(layer, given, *gains).float() - exact).abs()
            self.worst = max(self.worst, float(error.max()))
        for step in steps:
            step.finish()


SHAPES = [(9, 3, 64, False), (4, 4, 64, False), (8, 2, 128, True), (7, 1, 64, True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("level", list(Level))
def test_random_steps_agree_with_torch(shape: tuple, level: Level, libraries: Path):
    if level not in levels(libraries):
        pytest.skip(f"this processor has no {level.name}")
    heads, kv_heads, dim, normed = shape
    config = tiny(n_heads=heads, n_kv_heads=kv_heads, head_dim=dim, has_qk_norm=normed, context=800)
    for seed in range(2):
        both = Both(config, libraries, level, seed)
        prefixes = []
        for _ in range(both.number(0, 3)):
            length = both.number(1, 300)
            prefix = both.span(length)
            cut = both.number(0, length)
            if cut:
                both.step([(cut, None, prefix)])
            both.step([(length - cut, None, prefix)])
            prefixes.append(prefix)
        rows = []
        for _ in range(both.number(1, 9)):
            shared = prefixes[both.number(0, len(prefixes))] if prefixes else None
            rows.append((None if both.number(0, 4) == 0 else shared, both.span(260)))
        for _ in range(4):
            chunk = (1, 3) if both.number(0, 2) else (1, 50)
            both.step([(both.number(*chunk), prefix, own) for prefix, own in rows])
        # bfloat16 keeps 8 bits: one unit in the last place of values up to 4 is 2**-6, and
        # queries, keys and weights were rounded on the way.
        assert both.worst <= 2**-5


def test_a_copied_prefix_and_a_grown_span_attend_like_computed_ones(libraries: Path):
    config = tiny(n_heads=2, n_kv_heads=1, head_dim=64)
    both = Both(config, libraries, levels(libraries)[-1], 3)
    parent = both.span(100)
    both.step([(100, None, parent)])
    for n in (1, 15, 16, 17, 100):
        child = both.span(120)
        both.reference.copy(parent[0], n, child[0])
        both.native.copy(parent[1], n, child[1])
        assert [span.length for span in child] == [n, n]
        both.step([(7, None, child)])
        own = both.span(5)
        both.step([(5, child, own)])
        both.reference.grow(own[0], 40)
        both.native.grow(own[1], 40)
        assert own[1].capacity >= 40
        both.step([(20, child, own)])
    assert both.worst <= 2**-5


def test_bytes_are_what_the_tensor_takes_and_a_full_span_refuses_rows(libraries: Path):
    native = NativeAttention(tiny(head_dim=64), libraries)
    span = native.new_span(17)
    assert span.capacity == 32
    assert span.bytes == native.bytes_for(17) == native.bytes_for(32) == 2 * 2 * 2 * 32 * 64 * 2
    with pytest.raises(ValueError, match="a span of 32 tokens holds 0 and was asked to take 33"):
        native.open([Piece(slice(0, 33), None, span)])
    double = torch.zeros(1, 512, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"contiguous rows of {native.level.activations}"):
        native.open([Piece(slice(0, 1), None, span)]).attend(0, double, None, None)


def test_what_the_kernel_cannot_do_is_refused_with_the_way_out(libraries: Path):
    with pytest.raises(ConfigError, match="use the reference attention"):
        NativeAttention(tiny(head_dim=1024, n_heads=1), libraries)
    best = load_library(libraries).loom_level()
    if best < max(Level):
        with pytest.raises(ConfigError, match="this processor has"):
            NativeAttention(tiny(head_dim=64), libraries, level=max(Level))


def test_it_is_built_once_and_a_broken_build_says_what_the_compiler_said(
    libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    load_library(libraries)
    assert len(list(libraries.glob("*.so"))) == 1
    before = {path: path.stat().st_mtime_ns for path in libraries.glob("*.so")}
    load_library.cache_clear()
    assert isinstance(load_library(libraries), ctypes.CDLL)
    assert before == {path: path.stat().st_mtime_ns for path in libraries.glob("*.so")}

    monkeypatch.setattr(build, "FLAGS", ("--no-such-flag",))
    with pytest.raises(BuildError, match="no-such-flag"):
        load_library(tmp_path / "other")
    assert not list((tmp_path / "other").glob("*.so"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        load_library(tmp_path / "third")


def test_the_library_uses_no_instruction_that_it_was_not_asked_for(libraries: Path):
    """Wide registers occur only inside the functions that are called where they exist."""
    if not os.path.exists("/usr/bin/objdump"):
        pytest.skip("objdump is not installed")
    load_library(libraries)
    (library,) = libraries.glob("*.so")
    code = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True
    ).stdout
    wide = {
        block.split(">:")[0].rsplit("<", 1)[-1]
        for block in code.split("\n\n")
        if ">:" in block and "%zmm" in block
    }
    assert wide
    assert all("tile_rows" in name or "_avx512" in name for name in wide)
