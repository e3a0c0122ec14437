"""The compile matrix with real compilers, and what a second run need not do again."""

import pytest

from models.errors import ConfigError
from models.kernels import KernelCandidate, find_profile
from models.kernels.compiler import CompilePool, CompileResult
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.prompts.render import example
from models.kernels.targets import (
    GPU_TARGETS,
    CompileFolder,
    MatrixRow,
    chosen_signatures,
    compile_matrix,
    expected_effort,
    summarise_matrix,
)

EXP = KernelCandidate.of("exp", example("exp"))
BROKEN = KernelCandidate.of("log", example("exp").replace("tl.exp(x)", "tl.exp(offs)"))
TARGETS = [find_profile(name) for name in GPU_TARGETS]


def launch(dtype="*fp32", block=64, grid=1) -> LaunchRecord:
    sizes = dict.fromkeys(("n", "d1", "d2", "d3", "s0", "s1", "s2", "s3"), "i32")
    signature = {"x_ptr": dtype, "o_ptr": dtype, **sizes, "BLOCK": "constexpr"}
    return LaunchRecord(
        kernel="kernel_exp", signature=signature, constexprs={"BLOCK": block}, grid=(grid, 1, 1)
    )


@pytest.fixture(scope="module")
def pools():
    with CompilePool() as one, CompilePool() as other:
        yield [one, other]


def test_signatures_differ_in_types_before_they_differ_in_blocks():
    launches = [launch(block=64), launch(block=128), launch(block=64, grid=7), launch("*bf16")]
    assert len(chosen_signatures(launches, 9)) == 3, "grids make no new compile"
    two = chosen_signatures(launches, 2)
    assert {one.signature["x_ptr"] for one in two} == {"*fp32", "*bf16"}
    assert chosen_signatures([], 3) == []


def test_a_kernel_that_passes_compiles_for_five_targets_and_a_wrong_one_fails_for_all(
    pools, tmp_path
):
    store = CompileFolder(tmp_path / "compiles")
    noted: list[MatrixRow] = []
    launches = {EXP.sha: [launch()], BROKEN.sha: [launch()]}
    rows = compile_matrix([EXP, BROKEN], launches, TARGETS, pools, store=store, note=noted.append)
    assert len(rows) == 10
    assert [row.op_id for row in rows] == ["exp"] * 5 + ["log"] * 5
    assert tuple(row.result.profile for row in rows[:5]) == GPU_TARGETS
    assert all(row.result.ok and row.result.stage_reached == "binary" for row in rows[:5])
    assert not any(row.result.ok for row in rows[5:])
    assert {row.key for row in noted} == {row.key for row in rows}
    summary = summarise_matrix(rows)
    assert summary.portable == ("exp",)
    assert summary.failing == {"log": tuple(sorted(GPU_TARGETS))}
    assert summary.portable_share == 0.5
    assert summary.targets["sm90"].compiled == 1
    assert "1 of 2 operators compile for all targets" in summary.text()

    class NoCompiler:
        def compile(self, *asked):
            raise AssertionError(f"compiled again: {asked}")

    again = compile_matrix([EXP, BROKEN], launches, TARGETS, [NoCompiler()], store=store)
    assert [row.result for row in again] == [row.result for row in rows]
    assert all(row.was_known for row in again)


def test_a_killed_run_goes_on_with_what_it_had_not_compiled(pools, tmp_path):
    store = CompileFolder(tmp_path)
    asked = [launch(), launch(block=128), launch("*fp16")]

    def stop(row: MatrixRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_matrix([EXP], {EXP.sha: asked}, TARGETS[:1], pools[:1], store=store, note=stop)
    assert len(store) == 1
    rows = compile_matrix([EXP], {EXP.sha: asked}, TARGETS[:1], pools, store=store)
    assert sorted(row.was_known for row in rows) == [False, False, True]
    assert all(row.result.ok for row in rows)


def test_a_key_knows_module_signature_and_target(pools):
    other = KernelCandidate.of("exp", example("exp") + "\n")
    launches = {EXP.sha: [launch(), launch(block=128)], other.sha: [launch()]}
    rows = compile_matrix([EXP, other, EXP], launches, TARGETS[1:3], pools)
    assert len({row.key for row in rows}) == len(rows) == 6


def test_time_outs_and_crashes_are_not_kept(tmp_path):
    class Late:
        def compile(self, candidate, launch, target):
            return CompileResult(
                sha=candidate.sha, kernel=launch.kernel, profile=target.name, ok=False,
                signature=launch.signature, stage_reached="load", elapsed_s=60.0,
                error_class="timeout",
            )  # fmt: skip

    store = CompileFolder(tmp_path)
    rows = compile_matrix([EXP], {EXP.sha: [launch()]}, TARGETS, [Late()], store=store)
    assert summarise_matrix(rows).targets["sm80"].error_classes == {"timeout": 1}
    assert len(store) == 0


def test_a_damaged_result_is_compiled_again(pools, tmp_path):
    store = CompileFolder(tmp_path)
    compile_matrix([EXP], {EXP.sha: [launch()]}, TARGETS[:1], pools, store=store)
    (file,) = tmp_path.glob("*/*.json")
    file.write_text(file.read_text()[:50])
    rows = compile_matrix([EXP], {EXP.sha: [launch()]}, TARGETS[:1], pools, store=store)
    assert [row.was_known for row in rows] == [False]
    assert store.get(rows[0].key) == rows[0].result


def test_long_compiles_start_first():
    sorted_ = KernelCandidate.of("sort", example("exp").replace("tl.exp(x)", "tl.sort(x)"))
    order: list[str] = []

    class Noting:
        def compile(self, candidate, launch, target):
            order.append(candidate.op_id)
            return CompileResult(
                sha=candidate.sha, kernel=launch.kernel, profile=target.name, ok=True,
                signature=launch.signature, stage_reached="binary", elapsed_s=0.1,
            )  # fmt: skip

    launches = {EXP.sha: [launch()], sorted_.sha: [launch()]}
    compile_matrix([EXP, sorted_], launches, TARGETS[3:4], [Noting()])
    assert order == ["sort", "exp"]
    helped = KernelCandidate.of("argmax", example("argmax"))
    own = launch().model_copy(update={"kernel": "kernel_argmax"})
    assert expected_effort(helped, own, TARGETS[0]) > expected_effort(EXP, launch(), TARGETS[0])


def test_a_matrix_without_a_compiler_is_a_mistake(pools):
    with pytest.raises(ConfigError, match="at least one of each"):
        compile_matrix([EXP], {}, TARGETS, [])
    with pytest.raises(ConfigError, match="interpreter has no compiler"):
        compile_matrix([EXP], {}, [find_profile("interpreter")], pools)
