"""`loom agent`: options in, exit codes out; the work is in `models/agents`.

Nothing of it imports Prefect or MLflow, and nothing but typer is imported before a command runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from flows.command.agent_logs import export, import_, repair, replay, verify
from flows.command.agent_options import (
    AgentOption,
    ApprovalsOption,
    HomeOption,
    IdArgument,
    JsonOption,
    LocalOption,
    MakeWorkspaceOption,
    McpOption,
    ModelOption,
    NameOption,
    PolicyOption,
    SecondsOption,
    SecretOption,
    StepsOption,
    ThresholdOption,
    TokensOption,
    ToolOption,
    UsdOption,
    WorkspaceOption,
    approvals_of,
    as_line,
    begin,
    equip,
    give_more,
    given_by,
    home_of,
    plainly,
    secrets_of,
    show_lines,
    work_on,
)
from flows.command.agent_serve import serve

app = typer.Typer(
    help=(
        "Agents: conversations of a language model with tools, which outlive a crash.\n\n"
        "Exit codes: 0 finished, 1 failed, 2 wrong usage, 3 waits for an approval, 4 another "
        "process runs it, 5 no space left, 75 interrupted (resume goes on)."
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command()
def run(
    prompt: Annotated[str, typer.Argument(help="The task; - reads it from standard input.")],
    model: ModelOption = None,
    agent: AgentOption = None,
    workspace: WorkspaceOption = None,
    make_workspace: MakeWorkspaceOption = False,
    local: LocalOption = False,
    tool: ToolOption = None,
    mcp: McpOption = None,
    policy: PolicyOption = None,
    threshold: ThresholdOption = None,
    usd: UsdOption = None,
    tokens: TokensOption = None,
    steps: StepsOption = None,
    seconds: SecondsOption = None,
    secret: SecretOption = None,
    approvals: ApprovalsOption = None,
    id: NameOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give an agent a task and wait for its end.

    Example: `loom agent run "Mend the failing test" --model openai/gpt-5 --workspace . --usd 2`

    Example: `loom agent run - --model local:smollm2 --policy risky --approvals rules.yaml < task`
    """
    import sys

    from models.errors import ConfigError

    given = given_by(model, workspace, local, tool, policy, threshold, usd, tokens, steps, seconds)
    with plainly():
        text = sys.stdin.read() if prompt == "-" else prompt
        if not text.strip():
            raise ConfigError("the task is empty; say what the agent should do")
        known, rules = secrets_of(secret), approvals_of(approvals)
        name, place = begin(home, id, agent, given, mcp, make_workspace=make_workspace)
        work_on(place, name, text, known, rules, json)


@app.command()
def chat(
    model: ModelOption = None,
    agent: AgentOption = None,
    workspace: WorkspaceOption = None,
    make_workspace: MakeWorkspaceOption = False,
    local: LocalOption = False,
    tool: ToolOption = None,
    mcp: McpOption = None,
    policy: PolicyOption = None,
    threshold: ThresholdOption = None,
    usd: UsdOption = None,
    tokens: TokensOption = None,
    steps: StepsOption = None,
    seconds: SecondsOption = None,
    secret: SecretOption = None,
    id: NameOption = None,
    home: HomeOption = None,
) -> None:
    """Talk with an agent at the keyboard; an --id that exists goes on.

    Example: `loom agent chat --model openai/gpt-5 --workspace . --policy always`
    """
    given = given_by(model, workspace, local, tool, policy, threshold, usd, tokens, steps, seconds)
    with plainly():
        from models.agents.command.chatting import chat as talk
        from models.agents.command.working import work
        from models.errors import ConfigError

        place, known = home_of(home), secrets_of(secret)
        if id is not None and place.store.exists(id):
            name = id
            if mcp or given.keys() - {"model"}:
                raise ConfigError(
                    f"conversation '{id}' exists and goes on as it is; only --model and --agent "
                    f"change it here (budgets: loom agent resume {id} --steps ...)"
                )
            equip(place, id, agent, model)
        else:
            name, place = begin(home, id, agent, given, mcp, make_workspace=make_workspace)
        raise typer.Exit(work(place, name, known, talk))


@app.command()
def resume(
    id: IdArgument,
    prompt: Annotated[str | None, typer.Argument(help="Something to say first.")] = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    usd: UsdOption = None,
    tokens: TokensOption = None,
    steps: StepsOption = None,
    seconds: SecondsOption = None,
    secret: SecretOption = None,
    approvals: ApprovalsOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Go on with a conversation, wherever it was interrupted; a new budget counts from its start.

    Example: `loom agent resume 1f0c9a "And now the documentation"`

    Example: `loom agent resume 1f0c9a --steps 100`

    Example: `loom agent resume 1f0c9a --model openai/gpt-5` (another model, or one at all)
    """
    with plainly():
        place, known, rules = home_of(home), secrets_of(secret), approvals_of(approvals)
        limits = {"usd": usd, "tokens": tokens, "steps": steps, "seconds": seconds}
        equip(place, id, agent, model)
        give_more(place, id, limits)
        work_on(place, id, prompt, known, rules, json)


@app.command()
def approve(
    id: IdArgument,
    call: Annotated[str | None, typer.Argument(help="One waiting call; default: any.")] = None,
    reject: Annotated[
        str | None, typer.Option("--reject", metavar="WHY", help="Refuse; the model reads why.")
    ] = None,
    digest: Annotated[
        list[str] | None,
        typer.Option("--digest", help="Of a call that you looked at: no other passes; repeatable."),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Allow what waits without looking at it.")
    ] = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="Only write it down.")] = False,
    secret: SecretOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Allow calls that wait, or refuse them, and go on.

    Without a digest it shows them whole and asks about each.

    Example: `loom agent approve 1f0c9a` or `loom agent approve 1f0c9a --reject "not on a Friday"`
    """
    with plainly():
        from models.agents.command.deciding import Decision
        from models.agents.command.working import work

        decision = Decision(call, tuple(digest or ()), reject, is_for_all=all_, runs=not no_run)
        known = secrets_of(secret)
        raise typer.Exit(work(home_of(home), id, known, lambda talk: decision.take(talk, json)))


@app.command()
def ls(
    text: Annotated[str, typer.Argument(help="A part of a title or id.")] = "",
    delegated: Annotated[
        bool, typer.Option("--all", help="Also those that others delegated to.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List conversations, last changed first.

    Example: `loom agent ls --json | head -3`
    """
    with plainly():
        from models.agents.command.looking import rows, table

        found = rows(home_of(home), text, delegated=delegated)
        show_lines(map(vars, found), table(found), json)


@app.command()
def show(id: IdArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show where a conversation stands, and what waits in it.

    Example: `loom agent show 1f0c9a --json`
    """
    with plainly():
        from models.agents.command.looking import details, log_of
        from models.agents.command.printing import say

        place = home_of(home)
        with log_of(place, id) as log:
            found = details(place, log)
        if json:
            typer.echo(as_line(found))
            return
        for key, value in found.items():
            text = str(value) if isinstance(value, str | int) else as_line(value)
            say(f"{key:<11} " + text.replace("\n", f"\n{'':<12}"))


@app.command()
def fork(
    id: IdArgument,
    at: Annotated[int | None, typer.Option("--at", help="Last event shared; default: all.")] = None,
    name: Annotated[str | None, typer.Option("--id", help="Name of the copy.")] = None,
    home: HomeOption = None,
) -> None:
    """Make a copy that shares the events up to one; prints its ID.

    Example: `loom agent fork 1f0c9a --at 12`
    """
    with plainly():
        from models.agents.command.working import work
        from models.agents.conversation import Conversation
        from models.agents.errors import LifecycleError
        from models.agents.security.secrets import Secrets
        from models.errors import ConfigError

        place = home_of(home)

        async def copy(conversation: Conversation) -> int:
            try:
                forked = await conversation.fork(at, name)
            except LifecycleError as error:
                raise ConfigError(f"--at {at}: {error}") from None
            place.copy_spec(id, forked.id)
            await forked.aclose()
            typer.echo(forked.id)
            return 0

        raise typer.Exit(work(place, id, Secrets(), copy))


for command in (replay, export, verify, repair):
    app.command()(command)
app.command("import")(import_)
app.command()(serve)
