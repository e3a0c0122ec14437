"""vLLM: flags that its own parser takes, experts, servers apart, and bad flags."""

import shlex

import pytest

from models.errors import ConfigError
from models.sharding import Layout
from models.sharding.export.base import Exported, Refused
from models.sharding.export.registry import EXPORTERS, export, read_layout
from tests.models.sharding.export.jobs import JOBS, job


def written(one, layout) -> Exported:
    answer = export("vllm", one, layout)
    assert isinstance(answer, Exported), answer
    return answer


def test_a_dense_model_is_replicated_in_one_server():
    answer = written(JOBS["serving"], Layout(data=2, tensor=4, micro_batch=32, remat="none"))
    assert answer.command is not None
    assert answer.command.startswith("vllm serve meta-llama/Llama-3.1-70B ")
    for flag in ("--tensor-parallel-size 4", "--data-parallel-size 2", "--max-num-seqs 32"):
        assert flag in answer.command
    # Prompt of 1,024 and 256 tokens of answer.
    assert "--max-model-len 1280" in answer.command


def test_replicas_with_their_own_experts_are_servers_of_their_own():
    one = JOBS["serving experts"]
    apart = written(one, Layout(data=2, tensor=4, expert=4, micro_batch=32, remat="none"))
    assert apart.command is not None
    assert "--enable-expert-parallel" in apart.command
    assert "--data-parallel-size" not in apart.command
    assert "run 2 servers of 4 chips each behind a balancer" in apart.notes
    joined = written(one, Layout(data=2, tensor=4, expert=8, micro_batch=32, remat="none"))
    assert joined.command is not None
    assert "--data-parallel-size 2" in joined.command
    answer = export("vllm", one, Layout(data=2, tensor=4, expert=2, micro_batch=32, remat="none"))
    assert isinstance(answer, Refused)
    assert "expert=2 must be 1 or 4 or 8" in answer.reasons[0]


def test_vllm_gathers_no_weights():
    one = job("llama3.1-8b", "h100:8", 64, 1024, stage="serve")
    answer = export("vllm", one, Layout(fsdp=8, micro_batch=8, remat="none"))
    assert isinstance(answer, Refused)
    assert "use fsdp=1" in answer.reasons[0]
    assert answer.nearest is not None
    assert answer.nearest.fsdp == 1


def test_short_flags_and_a_file_are_read():
    one = JOBS["serving"]
    found = read_layout("vllm serve some/model -tp 4 --max-num-seqs=16 --port 80", one)
    assert found.layout == Layout(data=2, tensor=4, micro_batch=16, remat="none")
    assert found.notes == ("taken as 2 servers of 4 chips",)
    found = read_layout("tensor_parallel_size: 8\nmax-model-len: 512\n", one)
    assert (found.layout.tensor, found.layout.micro_batch) == (8, 64)
    assert "shorter than prompt and answer" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vllm serve x -tp 3", "does not divide the 8 chips"),
        ("vllm serve x -tp", "whole number"),
        ("vllm serve x --port 80", "no flag of"),
        ("--tensor-parallel-size 'x", "close the quotes"),
    ],
)
def test_bad_flags_name_the_way_out(text, said):
    with pytest.raises(ConfigError, match=said):
        EXPORTERS["vllm"].read(text, JOBS["serving"])


@pytest.mark.slow
def test_vllms_own_parser_takes_the_flags_and_the_file(tmp_path):
    pytest.importorskip("vllm")
    from vllm.engine.arg_utils import EngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser())
    for name, layout in (
        ("serving", Layout(data=2, tensor=4, micro_batch=32, remat="none")),
        ("serving experts", Layout(data=2, tensor=4, expert=8, micro_batch=32, remat="none")),
        ("serving on a torus", Layout(data=2, tensor=4, micro_batch=8, remat="none")),
    ):
        answer = written(JOBS[name], layout)
        assert answer.command is not None
        (tmp_path / "vllm.yaml").write_text(answer.files["vllm.yaml"], encoding="utf-8")
        words = shlex.split(answer.command)[2:]
        model, *flags = words
        assert model.count("/") == 1
        by_file = ["--config", str(tmp_path / "vllm.yaml")]
        for arguments in (flags, by_file):
            # A folder in place of the repository, which the parser would look up.
            given = parser.parse_args(["--model", str(tmp_path), *arguments])
            args = EngineArgs.from_cli_args(given)
            assert args.tensor_parallel_size == layout.tensor
            assert args.data_parallel_size == layout.data
            assert args.enable_expert_parallel == (layout.expert > 1)
            assert args.max_num_seqs == layout.micro_batch
            assert args.max_model_len == 1280
            assert args.gpu_memory_utilization == 0.9
