"""`loom sharding`: proposals, verdicts, exports, the MCP server, and errors of one line."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client, StdioServerParameters

from flows.__main__ import _main
from models.settings import ROOT

JOB = ("-m", "llama3.1-8b", "-s", "h100:16", "--global-batch", "64")


@pytest.fixture
def loom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["loom", "sharding", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = _main()
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_proposals_are_a_table_with_reasons_and_json_has_all(loom: Any):
    code, out, _ = loom("propose", *JOB)
    assert code == 0
    assert "pretrain llama3.1-8b, 64 x 4096 tokens, h100:16 (16 chips)" in out
    assert "#1" in out
    code, out, _ = loom("propose", *JOB, "-n", "2", "--json")
    found = json.loads(out)
    assert [one["rank"] for one in found["proposals"]] == [1, 2]
    assert found["proposals"][0]["layout"]["text"]


def test_what_fits_nowhere_is_said_with_the_chips_that_would_do(loom: Any):
    code, out, _ = loom("propose", "-m", "llama3.1-405b", "-s", "h100:8", "--global-batch", "64")
    assert code == 1
    assert "out of memory" in out
    assert "chips would do" in out


def test_a_layout_is_judged_by_words_file_and_standard_input(loom: Any, tmp_path: Path):
    code, out, _ = loom("judge", *JOB, "-l", "fsdp=8 tensor=2 micro=1 full")
    assert code == 0
    assert "fsdp=8 tensor=2 micro=1 full: fits" in out
    assert "x the first proposal" in out
    code, out, _ = loom("judge", *JOB, "-l", "data=16")
    # 8e9 parameters x 18 bytes on 80 GB.
    assert (code, "does not fit" in out) == (1, True)
    code, out, _ = loom("judge", *JOB, "-l", "fsdp=3")
    assert code == 1
    assert "axis sizes must divide 16" in out
    file = tmp_path / "titan.toml"
    file.write_text("[parallelism]\ntensor_parallel_degree = 2\n", encoding="utf-8")
    code, out, _ = loom("judge", *JOB, "-f", str(file), "--json")
    assert json.loads(out)["layout"]["fsdp"] == 8
    assert json.loads(out)["notes"][0].startswith("read as torchtitan")
    serving = ("-m", "llama3.1-8b", "-s", "h100:8", "--stage", "serve", "--global-batch", "64")
    code, out, _ = loom("judge", *serving, "-f", "-", stdin="vllm serve x -tp 4")
    assert (code, "data=2 tensor=4" in out) == (0, True)


def test_exports_are_printed_written_and_translated(loom: Any, tmp_path: Path):
    tpu = ("-m", "llama3.1-70b", "-s", "v6e:16x16", "--global-batch", "512")
    code, out, err = loom("export", *tpu, "--to", "maxtext", "-l", "fsdp=256 micro=2 full")
    assert code == 0
    assert yaml.safe_load(out)["ici_fsdp_parallelism"] == 256
    assert "start: python3 -m maxtext" in err
    code, out, err = loom("export", *JOB, "--to", "torchtitan", "--out", str(tmp_path / "new"))
    assert (code, out) == (0, "")
    file = tmp_path / "new" / "torchtitan.toml"
    code, out, _ = loom("export", *JOB, "-f", str(file), "--to", "megatron")
    assert code == 0
    assert "train.global_batch_size=64" in out
    code, out, err = loom("export", *JOB, "--to", "torchtitan", "-l", "data=4 fsdp=4 zero=1")
    assert (code, out) == (1, "")
    assert "nearest that torchtitan can express: data=4 fsdp=4 micro=1 full" in err


def test_errors_are_one_line(loom: Any, tmp_path: Path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for words, said in (
        (("propose", "-m", "llama3.1-8", "-s", "h100:8"), "did you mean 'llama3.1-8b'"),
        (("propose", "-m", "llama3.1-8b", "-s", "h100"), "for example v6e:16x16"),
        (("propose", *JOB, "--stage", "sleep"), "--stage: 'stage': input should be 'pretrain'"),
        (("propose", *JOB, "--set", "tpot_s=0.1"), "belong to serving"),
        (("propose", *JOB, "--set", "model=x"), "has an option of its own"),
        (("propose", *JOB, "--set", "seqlen=8"), "did you mean 'seq_len'"),
        (("propose", "-s", "h100:8"), "--model"),
        (("judge", *JOB), "give a layout"),
        (("judge", *JOB, "-l", "fsdp=8", "-f", "x"), "not by both"),
        (("judge", *JOB, "-l", "fspd=8"), "did you mean 'fsdp'"),
        (("judge", *JOB, "-f", "gone.yml"), "does not exist"),
        (("export", *JOB, "--to", "megatr0n"), "did you mean 'megatron'"),
        (("export", *JOB, "--to", "megatron", "--out", str(tmp_path / "file")), "--out"),
    ):
        code, out, err = loom(*words)
        assert code in (2, 3), (words, err)
        assert said in err.replace("\n", " "), (words, err)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not out


def test_chips_and_models_are_listed(loom: Any):
    assert "v6e" in loom("chips")[1]
    assert json.loads(loom("chips", "--json")[1])["h100"]["kind"] == "gpu"
    assert "mixtral-8x7b" in loom("models")[1]
    assert len(json.loads(loom("models", "--json")[1])) >= 50


def test_help_shows_an_example_of_every_command(loom: Any):
    for name in ("propose", "judge", "export"):
        assert f"loom sharding {name}" in loom(name, "--help")[1].replace("\n", " ")


def test_the_server_answers_a_client(tmp_path: Path):
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "flows", "sharding", "mcp"], cwd=ROOT
    )

    async def work() -> Any:
        async with Client(parameters) as client:
            return await client.call_tool("names", {})

    answer = asyncio.run(work())
    assert not answer.is_error
    assert "h100" in json.loads(answer.content[0].text)["chips"]
