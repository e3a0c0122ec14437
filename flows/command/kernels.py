"""`loom kernels`: operators, modules and their tests, without a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help=(
        "Write and judge Triton kernels for ATen operators; no GPU is needed.\n\n"
        "`ops` lists the operators; `write` makes the module of one and `explain` says by which "
        "rules; `lint` and `test` judge a module of your own as the campaign would; `compile` "
        "builds it for GPUs; `train` runs a model on a package of kernels; `export` writes a "
        "package for another judge.\n\n"
        "Exit codes: 0 it holds, 1 it does not, 2 wrong usage. Campaigns: "
        "`loom run generate-kernels`."
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

OperatorArgument = Annotated[
    str, typer.Argument(metavar="OP", help="Operator, e.g. softmax (`loom kernels ops`).")
]
ModuleArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="Module: kernels and `wrapper`, without imports.")
]
OperatorOption = Annotated[
    str, typer.Option("--op", help="Operator that the module is for (`loom kernels ops`).")
]
ProfileOption = Annotated[
    str,
    typer.Option("--profile", help="Device whose lists and limits hold, e.g. sm90 or padded32."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
MostOption = Annotated[
    int | None,
    typer.Option("--most", min=1, help="Tests per type at most; default: all, as what counts."),
]


@app.command()
def ops(
    which: Annotated[
        str,
        typer.Argument(
            help="paper, all, slice60, a family such as `norm`, or a pattern such as "
            "`nn.functional.*`; several with commas between."
        ),
    ] = "paper",
    json: JsonOption = False,
) -> None:
    """List operators with their tests, and why some are in no set.

    Example: `loom kernels ops norm,loss`
    """
    from flows.command.kernels_shown import show_operators

    show_operators(which, json)


@app.command()
def show(op: OperatorArgument, json: JsonOption = False) -> None:
    """Show one operator: signature, overloads, tests by type, documentation.

    Example: `loom kernels show argmax`
    """
    from flows.command.kernels_shown import show_operator

    show_operator(op, json)


@app.command()
def write(
    op: OperatorArgument,
    profile: ProfileOption = "interpreter",
    out: Annotated[
        Path | None, typer.Option("--out", help="File for the module; default: print it.")
    ] = None,
) -> None:
    """Write the module of an operator by rules, without a language model.

    Example: `loom kernels write softmax --out softmax.py`
    """
    from flows.command.kernels_shown import write_module

    raise typer.Exit(write_module(op, profile, out))


@app.command()
def explain(
    op: OperatorArgument, profile: ProfileOption = "interpreter", json: JsonOption = False
) -> None:
    """Say which rules write an operator's module, which calls they serve and which not.

    Example: `loom kernels explain nn.functional.layer_norm`
    """
    from flows.command.kernels_shown import explain_module

    raise typer.Exit(explain_module(op, profile, json))


@app.command()
def lint(
    file: ModuleArgument,
    op: OperatorOption,
    profile: ProfileOption = "interpreter",
    json: JsonOption = False,
) -> None:
    """Check the text of a module; nothing of it runs.

    Example: `loom kernels lint softmax.py --op softmax`
    """
    from flows.command.kernels_judged import lint_file

    raise typer.Exit(lint_file(file, op, profile, json))


@app.command("test")
def run_tests(
    file: ModuleArgument,
    op: OperatorOption,
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            help="S public samples, V1 other seeds, V2 layouts, V3 shapes, V4 other types, V6 "
            "out=, in place and error inputs.",
        ),
    ] = "S",
    seed: Annotated[int, typer.Option("--seed", help="Seed of every suite but S.")] = 1,
    most: MostOption = None,
    profile: ProfileOption = "interpreter",
    json: JsonOption = False,
) -> None:
    """Run a module behind walls and compare it with ATen in another process.

    Example: `loom kernels test softmax.py --op softmax --suite V2`
    """
    from flows.command.kernels_judged import test_file

    raise typer.Exit(test_file(file, op, suite, seed, most, profile, json))


@app.command("compile")
def compile_(
    file: ModuleArgument,
    op: OperatorOption,
    targets: Annotated[
        str, typer.Option("--targets", help="Device profiles with commas between.")
    ] = "sm80,sm90,sm100,gfx942,gfx1100",
    json: JsonOption = False,
) -> None:
    """Compile the kernels of a module as its tests launch them; no GPU is needed.

    Example: `loom kernels compile softmax.py --op softmax --targets sm90,gfx942`
    """
    from flows.command.kernels_judged import compile_file

    raise typer.Exit(compile_file(file, op, targets, json))
