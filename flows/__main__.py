"""The command line: `loom`, or `python -m flows`.

Imports are lazy on purpose: `loom --help` answers at once, a command pays for its own needs.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from flows.command.agent import app as agents
from flows.command.detect import app as detect
from flows.command.kernels import app as kernels
from flows.command.sharding import app as sharding

app = typer.Typer(
    name="loom",
    help=(
        "ML systems of the MLSys 2026 industry track as Prefect flows, tracked in MLflow.\n\n"
        "Start with `loom demo` (every flow on bundled data), then `loom up` (both servers and "
        "a worker) and `loom runs` (what ran, with links)."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

app.add_typer(agents, name="agent")
app.add_typer(detect, name="detect")
app.add_typer(kernels, name="kernels")
app.add_typer(sharding, name="sharding")

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Input of the flow, as its page describes it; default: bundled data."
    ),
]
RunnerOption = Annotated[
    str | None, typer.Option("--runner", help="Where tasks run: threads or dask.")
]
DaskOption = Annotated[
    str | None,
    typer.Option("--dask-address", help="Scheduler of a Dask cluster, e.g. tcp://host:8786."),
]


@app.command("list")
def list_() -> None:
    """Show the flows and benchmarks that exist."""
    from flows.command.show import show_list

    show_list()


def _show_help(ctx: typer.Context, is_asked: bool) -> None:
    """Print the command's help, and the config keys of the flow if one is named."""
    if not is_asked:
        return
    typer.echo(ctx.get_help())
    flow = ctx.params.get("flow")
    if flow is not None:
        from flows.command.keys import show_keys

        show_keys(flow)
    raise typer.Exit


@app.command(add_help_option=False)
def run(
    flow: Annotated[
        str | None,
        # Eager: read before --help, which shows the keys of the flow.
        typer.Argument(help="Name of a flow, see `loom list`.", metavar="FLOW", is_eager=True),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file with config keys.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one config key; repeatable."),
    ] = None,
    data: DataOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check config and data, print both, run nothing.")
    ] = False,
    runner: RunnerOption = None,
    dask_address: DaskOption = None,
    _help: Annotated[
        bool,
        typer.Option(
            "--help",
            help="Show this and exit; after a FLOW its config keys too: type, default, meaning.",
            callback=_show_help,
        ),
    ] = False,
) -> None:
    """Run FLOW once and record it in the experiment tracker.

    Example: `loom run plan-upgrades --set window_s=14400 --set seed=7`

    Its config keys: `loom run FLOW --help`
    """
    from flows.command.run import run_flow

    if flow is None:
        raise typer.BadParameter("name a FLOW; the flows that exist: loom list.")
    run_flow(flow, config, set_ or [], data, dry_run, runner, dask_address)


@app.command()
def demo(runner: RunnerOption = None, dask_address: DaskOption = None) -> None:
    """Run every flow on bundled data and print one table of figures and links."""
    from flows.command.demo import run_demo

    run_demo(runner, dask_address)


def _show_bench_help(ctx: typer.Context, is_asked: bool) -> None:
    """Print the command's help, and the keys of the benchmark if one is named."""
    if not is_asked:
        return
    typer.echo(ctx.get_help())
    room = ctx.params.get("room")
    if room is not None:
        from flows.command.keys import show_bench_keys

        show_bench_keys(room)
    raise typer.Exit


@app.command(add_help_option=False)
def bench(
    room: Annotated[
        str | None,
        typer.Argument(help="Name of a benchmark, see `loom list`.", metavar="ROOM", is_eager=True),
    ] = None,
    data: DataOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything that is drawn.")] = 0,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write every figure to this file.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key; repeatable."),
    ] = None,
    _help: Annotated[
        bool,
        typer.Option(
            "--help",
            help="Show this and exit; after a ROOM its keys too, where it has any.",
            callback=_show_bench_help,
        ),
    ] = False,
) -> None:
    """Measure ROOM and print its figures beside the trivial baselines and peers.

    Example: `loom bench inference --set repeats=1 --set peers=vllm`
    """
    from flows.command.bench import run_bench

    if room is None:
        raise typer.BadParameter("name a ROOM; the benchmarks that exist: loom list.")
    run_bench(room, data, seed, json, set_ or [])


@app.command("generate-fleet")
def generate_fleet(
    out: Annotated[Path, typer.Option("--out", help="Folder that the files are written to.")],
    hosts: Annotated[int | None, typer.Option("--hosts", help="Hosts; default: 2,000.")] = None,
    days: Annotated[
        int | None, typer.Option("--days", help="Days of the history; default: 180.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of everything that is drawn; default: 0.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file with keys of FleetConfig.")
    ] = None,
) -> None:
    """Generate a fleet with a backlog and a past; the same options give the same bytes.

    Example: `loom generate-fleet --out out/fleet --hosts 2000 --seed 7`
    """
    from flows.command.fleet import run_generator

    run_generator(out, hosts, days, seed, config)


@app.command()
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Go on in the background; `loom down` ends it.")
    ] = False,
    prefect_port: Annotated[
        int | None, typer.Option(help="Exactly this port; default: 4200 or the next free one.")
    ] = None,
    mlflow_port: Annotated[
        int | None, typer.Option(help="Exactly this port; default: 5000 or the next free one.")
    ] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Start no worker.")] = False,
    no_deploy: Annotated[
        bool, typer.Option("--no-deploy", help="Leave the deployments as they are.")
    ] = False,
) -> None:
    """Start Prefect, MLflow and a worker, deploy `prefect.yaml`, show one status page."""
    from flows.command.up import up as start

    start(detach, prefect_port, mlflow_port, no_worker, no_deploy)


@app.command()
def down() -> None:
    """End what `loom up` started."""
    from flows.command.up import down as stop

    stop()


@app.command()
def runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 10,
    flow: Annotated[str | None, typer.Option("--flow", help="Only runs of this flow.")] = None,
) -> None:
    """Show recent runs with their links to both UIs."""
    from flows.command.show import show_runs

    show_runs(limit, flow)


@app.command()
def sync() -> None:
    """Send runs that were kept on disk while the tracking server was unreachable."""
    from flows.command.show import sync_spool

    sync_spool()


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what this machine has and what each missing part would enable."""
    from flows.command.doctor import doctor as examine

    examine(json)


def main() -> None:
    """Run the command line; errors become one message and an exit code."""
    sys.exit(_main())


def _main() -> int:
    from models.errors import ProjectError, StorageFullError, is_storage_full

    try:
        code = app(standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except TyperException as error:
        _say_error(f"{error.format_message()} See: loom --help")
        return 2
    except ProjectError as error:
        _say_error(str(error))
        return StorageFullError.exit_code if is_storage_full(error) else error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if is_storage_full(error):
            from models.settings import get_settings

            home = get_settings().home
            _say_error(f"no space left under {home}; free space there, or set LOOM_HOME elsewhere")
            return StorageFullError.exit_code
        return _say_bug(error)
    if code == INTERRUPTED:  # Typer turns Ctrl-C into this code without a word
        _say_error("interrupted; what was finished is kept, an unfinished run is marked KILLED")
    return int(code or 0)


def _say_error(message: str) -> None:
    from models.visible import visible

    print(f"error: {visible(message)}", file=sys.stderr)


def _say_bug(error: Exception) -> int:
    """A failure that we did not foresee: name it, keep the traceback where it can be read."""
    import time

    from models.settings import get_settings

    text = "".join(traceback.format_exception(error))
    file = get_settings().home / "logs" / f"error-{time.time_ns()}.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        place = f"the full traceback is in {file}"
    except OSError:
        place = f"the full traceback:\n{text}"
    _say_error(f"{type(error).__name__}: {error}; this was not foreseen, {place}")
    return 70


if __name__ == "__main__":
    main()
