"""Options of `loom agent`, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from models.agents.command.approvals import Approvals
    from models.agents.home import AgentHome
    from models.agents.security.secrets import Secrets
    from models.agents.spec import AgentSpec

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the conversations; default: agents under LOOM_HOME."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="See `loom agent ls`.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="openai/gpt-5, http://HOST/v1#NAME, local:NAME, scripted:FILE."),
]
AgentOption = Annotated[
    Path | None, typer.Option("--agent", help="YAML file with keys of AgentSpec.")
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", help="Folder that tools work in, one that is there; default: its own."
    ),
]
MakeWorkspaceOption = Annotated[
    bool,
    typer.Option("--make-workspace", help="Make the folder of the workspace if it is not there."),
]
LocalOption = Annotated[
    bool, typer.Option("--local", help="Run commands without walls, with all your rights.")
]
ToolOption = Annotated[
    list[str] | None, typer.Option("--tool", help="A tool by name; repeatable; default: the usual.")
]
McpOption = Annotated[
    Path | None, typer.Option("--mcp", help="A .mcp.json with servers whose tools it gets.")
]
PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", help="Which calls wait: never (default), alarms, risky, always."),
]
ThresholdOption = Annotated[
    str | None, typer.Option("--threshold", help="With alarms, risky: low, medium, high (default).")
]
UsdOption = Annotated[float | None, typer.Option("--usd", help="Budget in US dollars.")]
TokensOption = Annotated[int | None, typer.Option("--tokens", help="Budget in tokens.")]
StepsOption = Annotated[int | None, typer.Option("--steps", help="Budget in calls of the model.")]
SecondsOption = Annotated[float | None, typer.Option("--seconds", help="Budget in seconds.")]
SecretOption = Annotated[
    list[str] | None,
    typer.Option("--secret", help="Name of a variable that tools may use and nobody sees."),
]
ApprovalsOption = Annotated[
    Path | None, typer.Option("--approvals", help="YAML file with rules for calls that wait.")
]
NameOption = Annotated[str | None, typer.Option("--id", help="Name of the conversation.")]


def home_of(folder: Path | None) -> AgentHome:
    """Return the folder of conversations that an option names, or the usual one."""
    from models.agents.home import AgentHome
    from models.settings import get_settings

    return AgentHome(folder or get_settings().home / "agents")


def given_by(
    model: str | None,
    workspace: Path | None,
    local: bool,
    tools: list[str] | None = None,
    policy: str | None = None,
    threshold: str | None = None,
    usd: float | None = None,
    tokens: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
) -> dict[str, str]:
    """Return the keys of an agent that options name, as `KEY: VALUE` of a config in YAML."""
    import json

    named: dict[str, object] = {
        "model": model,
        "workspace": str(workspace.expanduser().absolute()) if workspace else None,
        "isolation": "local" if local else None,
        "tools": tools or None,
        "policy.kind": policy,
        "policy.threshold": threshold,
        "budget.usd": usd,
        "budget.tokens": tokens,
        "budget.steps": steps,
        "budget.seconds": seconds,
    }
    # Quoted: without, YAML takes `scripted:` for a mapping and `no` for a truth value.
    return {
        key: json.dumps(value, ensure_ascii=False)
        for key, value in named.items()
        if value is not None
    }


_OPTIONS = {
    "model": "--model",
    "workspace": "--workspace",
    "tools": "--tool",
    "policy": "--policy",
    "policy.threshold": "--threshold",
    "budget": "--usd, --tokens, --steps, --seconds",
}


def spec_of(
    file: Path | None,
    given: Mapping[str, str],
    mcp: Path | None = None,
    *,
    make_workspace: bool = False,
) -> AgentSpec:
    """Return the agent that a file and options describe; its workspace is there, or may be made."""
    from models.agents.command.place import check_place
    from models.agents.mcp.spec import read_servers
    from models.agents.spec import AgentSpec
    from models.config import load_config
    from models.errors import ConfigError

    if file is None and "model" not in given:
        raise ConfigError(
            "name a model: --model openai/gpt-5, --model http://HOST:PORT/v1#NAME, or an --agent "
            "file that names one"
        )
    overrides = [f"{key}={value}" for key, value in given.items()]
    spec = load_config(
        AgentSpec, file, overrides, what="agent file", option="--agent", options=_OPTIONS
    )
    if mcp is not None:
        spec = spec.model_copy(update={"mcp": {**spec.mcp, **read_servers(mcp)}})
    if spec.workspace:
        check_place(spec.workspace, may_make=make_workspace)
    return spec


def begin(
    folder: Path | None,
    name: str | None,
    file: Path | None,
    given: Mapping[str, str],
    mcp: Path | None = None,
    *,
    make_workspace: bool = False,
) -> tuple[str, AgentHome]:
    """Keep the spec of a new conversation and make its log."""
    import secrets

    from models.errors import ConfigError

    home = home_of(folder)
    name = name or secrets.token_hex(4)
    if home.store.exists(name):
        raise ConfigError(f"there is a conversation '{name}' already: loom agent resume {name}")
    home.keep(name, spec_of(file, given, mcp, make_workspace=make_workspace))
    home.store.open(name).close()
    return name, home


def equip(home: AgentHome, name: str, file: Path | None, model: str | None) -> None:
    """Give a conversation another agent or model, or one at all; its workspace stays.

    Raises:
        ConfigError: They cannot be used, or no model is named where none was.
        NoConversationError: There is no such conversation.
    """
    if file is None and model is None:
        return
    home.must_exist(name)
    kept = home.spec(name)
    if kept is not None and file is None:
        spec = kept.model_copy(update={"model": model})
    else:
        spec = spec_of(file, given_by(model, None, False))
        if kept is not None and not spec.workspace:
            spec = spec.model_copy(update={"workspace": kept.workspace})
    home.keep(name, spec)


def give_more(home: AgentHome, name: str, limits: Mapping[str, object]) -> None:
    """Replace limits of a conversation's budget; what it spent since its beginning counts."""
    from models.agents.spec import BudgetSpec
    from models.config import load_config

    named = [f"{key}={value}" for key, value in limits.items() if value is not None]
    options = {key: f"--{key}" for key in limits}
    given = load_config(BudgetSpec, None, named, options=options)
    home.must_exist(name)
    if named and (spec := home.spec(name)) is not None:
        budget = spec.budget.model_copy(update=given.model_dump(exclude_unset=True))
        home.keep(name, spec.model_copy(update={"budget": budget}))


def work_on(
    home: AgentHome,
    name: str,
    text: str | None,
    secrets: Secrets,
    approvals: Approvals,
    json: bool,
) -> None:
    """Run a conversation and exit with its code."""
    from models.agents.command.printing import Printer
    from models.agents.command.working import run as go_on
    from models.agents.command.working import work

    raise typer.Exit(
        work(home, name, secrets, lambda talk: go_on(talk, text, Printer(json), approvals))
    )


def secrets_of(names: list[str] | None) -> Secrets:
    """Take secrets from our own environment."""
    import os

    from models.agents.security.secrets import Secrets
    from models.errors import ConfigError

    for name in names or ():
        if name not in os.environ:
            raise ConfigError(f"--secret {name}: there is no variable of this name; set it first")
    return Secrets({name: os.environ[name] for name in names or ()})


def approvals_of(file: Path | None) -> Approvals:
    """Read the rules of a file; without one everything waits for people."""
    from models.agents.command.approvals import Approvals
    from models.config import load_config

    return load_config(Approvals, file, what="file of approval rules", option="--approvals")


def as_line(values: object) -> str:
    """Return plain values as one line of JSON."""
    import orjson

    return orjson.dumps(values, default=str).decode()


def show_lines(values: Iterable[object], told: Iterable[str], json: bool) -> None:
    """Write values as JSON lines, or what they are told people as."""
    from models.agents.command.printing import say

    if json:
        for value in values:
            typer.echo(as_line(value))
    else:
        for line in told:
            say(line)


@contextmanager
def plainly() -> Iterator[None]:
    """Give what is asked for and not there the exit code of wrong usage, not that of waiting."""
    from models.agents.errors import ApprovalError, LogError
    from models.errors import ConfigError

    try:
        yield
    except (LogError, ApprovalError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
