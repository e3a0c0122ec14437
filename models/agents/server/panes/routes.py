"""Routes: which programs there are beside a conversation; open one, end one."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from models.agents.server.failures import masked
from models.agents.server.live import Live
from models.agents.server.panes.pane import COOKIE, TICKET_S, State
from models.agents.server.panes.panes import Entry
from models.agents.server.panes.pictures import NONE_YET
from models.agents.server.state import Id, Parts, needs
from models.agents.tools.browser.driver import CHROMIUM, Browser

router = APIRouter(prefix="/api/conversations/{id}/panes", tags=["panes"])


class PaneEntry(BaseModel):
    """One program that can be opened beside a conversation, or cannot."""

    name: Literal["ide", "desktop", "browser"]
    installed: bool = Field(description="Whether it can be opened at all.")
    state: State
    why: str = Field(description="What has to be installed, or what went wrong; may be empty.")


class PaneEntries(BaseModel):
    """All programs."""

    panes: list[PaneEntry]


class PaneOpened(BaseModel):
    """Where a program is shown; the answer's cookie opens it in this browser."""

    url: str
    ticket_s: int = Field(description="Ask again before this time is over.")


@router.get("", response_model=PaneEntries, dependencies=[needs("read")])
async def panes(server: Parts, id: Id) -> Response:
    """List the programs: whether they are installed here, whether they run, or why not."""
    async with server.registry.use(id) as live:
        found = [*server.panes.entries(live), _browser(live)]
        return masked({"panes": [entry._asdict() for entry in found]}, live.secrets)


@router.post("/{name}", response_model=PaneOpened, dependencies=[needs("write")])
async def open_pane(
    server: Parts, id: Id, name: Literal["ide", "desktop"], request: Request
) -> Response:
    """Start a program, or take the one that runs, and give a ticket for it as a cookie."""
    async with server.registry.use(id) as live:
        pane = await server.panes.open(id, name)
        here = request.url
        ticket = pane.ticket(f"{here.scheme}://{here.netloc}")
        url = here.replace(port=pane.port, path=f"{pane.prefix}/", query="")
        answer = masked({"url": str(url), "ticket_s": TICKET_S}, live.secrets)
        answer.set_cookie(
            COOKIE, ticket, max_age=TICKET_S, path=f"{pane.prefix}/", httponly=True,
            samesite="strict", secure=here.scheme == "https",
        )  # fmt: skip
        return answer


@router.delete("/{name}", status_code=204, dependencies=[needs("write")])
async def end_pane(server: Parts, id: Id, name: Literal["ide", "desktop"]) -> Response:
    """End a program with all that it started."""
    await server.workers.do(server.home.must_exist, id)
    await server.panes.end(id, name)
    return Response(status_code=204)


def _browser(live: Live) -> Entry:
    if importlib.util.find_spec("playwright") is None or not any(map(shutil.which, CHROMIUM)):
        why = "agents have no browser on this server: install Chromium and the extra `browser`"
        return Entry("browser", False, State.OFF, why)
    found = live.opened.session.find("browser") if live.opened else None
    if isinstance(found, Browser) and found.pages:
        return Entry("browser", True, State.RUNNING)
    return Entry("browser", True, State.OFF, NONE_YET)
