"""Options of `loom sharding` that several commands take, and the question that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m",
        help="Shipped model (`loom sharding models`) or path of a Hugging Face config.json.",
    ),
]  # fmt: skip
SliceOption = Annotated[
    str,
    typer.Option(
        "--slice", "-s", help="Chips as chip:shape, such as v6e:16x16 or h100:64 "
        "(`loom sharding chips`).",
    ),
]  # fmt: skip
LengthOption = Annotated[
    int, typer.Option("--seq-len", help="Tokens of a sequence; of a prompt when serving.")
]
BatchOption = Annotated[
    int, typer.Option("--global-batch", help="Sequences of a step; decoded together when serving.")
]
StageOption = Annotated[
    str, typer.Option("--stage", help="pretrain, finetune, lora or serve.", show_default=True)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE",
        help="Another key of the question: pods, compute (bf16, fp8, int8, fp4), output_len, "
        "ttft_s, tpot_s, weight_bytes, grad_bytes, optimizer_bytes, chip_file; repeatable.",
    ),
]  # fmt: skip
RankOption = Annotated[
    str,
    typer.Option(
        "--rank", help="Which stands first: 'experts', the most usual split of published runs, of "
        "which the predicted time is one trait; or 'time', the predicted time alone.",
    ),
]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
LayoutOption = Annotated[
    str | None,
    typer.Option("--layout", "-l", help="Layout in words: 'fsdp=64 tensor=4 micro=2 full'."),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", help="Layout as a trainer's file or flags: MaxText YAML, Megatron "
        "overrides, torchtitan TOML, vLLM flags; - reads a text.",
    ),
]  # fmt: skip
