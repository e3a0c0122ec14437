"""`loom sharding`: what can be asked about layouts without a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command.sharding_options import (
    BatchOption,
    FileOption,
    JsonOption,
    LayoutOption,
    LengthOption,
    ModelOption,
    RankOption,
    SetOption,
    SliceOption,
    StageOption,
)

app = typer.Typer(
    help=(
        "Choose how a model is split over TPUs or GPUs, before anything is launched.\n\n"
        "`propose` layouts for a model on a slice; `judge` a layout of your own, or the file of a "
        "trainer; `export` one to MaxText, Megatron-Bridge, torchtitan, vLLM or JAX; serve all of "
        "it to agents with `mcp`.\n\n"
        "Exit codes: 0 there is a layout (it fits), 1 there is none (it does not), 2 wrong usage."
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command()
def propose(
    model: ModelOption,
    slice_: SliceOption,
    seq_len: LengthOption = 4096,
    global_batch: BatchOption = 256,
    stage: StageOption = "pretrain",
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=8, help="How many.")] = 3,
    rank: RankOption = "experts",
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Propose layouts: legal, within memory, the most promising first, each on another mesh.

    Example: `loom sharding propose -m llama3.1-70b -s v6e:16x16 --seq-len 8192 --global-batch 1280`

    Example: `loom sharding propose -m mixtral-8x7b -s h100:64 --set compute=fp8`

    Example: `loom sharding propose -m llama3.1-70b -s h100:8 --stage serve --seq-len 1024
    --global-batch 64 --set tpot_s=0.03`
    """
    from flows.command.sharding_shown import ask, show_plan

    job = ask(model, slice_, seq_len, global_batch, stage, set_ or [])
    raise typer.Exit(show_plan(job, count, rank, json))


@app.command()
def judge(
    model: ModelOption,
    slice_: SliceOption,
    layout: LayoutOption = None,
    file: FileOption = None,
    seq_len: LengthOption = 4096,
    global_batch: BatchOption = 256,
    stage: StageOption = "pretrain",
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Judge a layout of your own: is it legal, does it fit, how far is it from the best.

    Example: `loom sharding judge -m llama3.1-8b -s h100:16 --global-batch 64 -l 'fsdp=8 tensor=2'`

    Example: `loom sharding judge -m llama3.1-70b -s v6e:16x16 --global-batch 512 -f maxtext.yml`

    Example: `echo 'vllm serve x -tp 4' | loom sharding judge -m llama3.1-8b -s h100:8 --stage serve
    --global-batch 64 -f -`
    """
    from flows.command.sharding_shown import ask, layout_of, show_judgement

    job = ask(model, slice_, seq_len, global_batch, stage, set_ or [])
    found, notes = layout_of(job, layout, file)
    raise typer.Exit(show_judgement(job, found, notes, json))


@app.command()
def export(
    model: ModelOption,
    slice_: SliceOption,
    to: Annotated[str, typer.Option("--to", help="maxtext, megatron, torchtitan, vllm or jax.")],
    layout: LayoutOption = None,
    file: FileOption = None,
    seq_len: LengthOption = 4096,
    global_batch: BatchOption = 256,
    stage: StageOption = "pretrain",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files; default: print them.")
    ] = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Write a layout, or the first proposal, for a trainer or server.

    What it cannot express is refused with the nearest layout that it can.

    Example: `loom sharding export -m llama3.1-70b -s v6e:16x16 --global-batch 512 --to maxtext
    --out out`

    Example: translate, `loom sharding export -m llama3.1-8b -s h100:16 --global-batch 64
    -f torchtitan.toml --to megatron`
    """
    from flows.command.sharding_shown import ask, layout_of, show_export

    job = ask(model, slice_, seq_len, global_batch, stage, set_ or [])
    found, notes = layout_of(job, layout, file, may_lack=True)
    raise typer.Exit(show_export(job, found, notes, to, out, json))


@app.command()
def mcp(
    limit_s: Annotated[
        float, typer.Option("--limit-s", min=0.001, help="Seconds that a call may take.")
    ] = 300.0,
) -> None:
    """Serve proposals, verdicts, diagnoses and exports to agents, as an MCP server over stdio.

    In an agent's configuration: command `loom`, arguments `sharding mcp`.
    """
    from models.sharding.server.serve import serve

    serve(limit_s=limit_s)


@app.command()
def chips(json: JsonOption = False) -> None:
    """List the chips that are known, with what bounds a step on them."""
    from flows.command.sharding_shown import show_chips

    show_chips(json)


@app.command()
def models(json: JsonOption = False) -> None:
    """List the models whose shape is shipped."""
    from flows.command.sharding_shown import show_models

    show_models(json)
