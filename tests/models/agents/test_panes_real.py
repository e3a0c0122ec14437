"""The programs themselves, in the web workspace: a desktop, VS Code, the agent's browser.

Each is skipped where it is not installed. With LOOM_SCREENSHOTS=docs/img pictures are taken.
"""

import http.server
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.agents.server.panes.base import SYSTEM
from models.agents.server.panes.desktop import Desktop
from models.agents.server.panes.ide import Ide
from tests.models.agents.browsing import Browser, new_browser
from tests.models.agents.serving import KEY, Served, call, served

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

PAGE = b"""<!doctype html><title>Lights</title><body style="background: #ff0000">
<h1 style="color: white; font: 4rem sans-serif">Which light is on?</h1>
<script>setInterval(() => { document.body.style.background = location.hash || '#ff0000' }, 50)
</script>"""


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def lights() -> Iterator[str]:
    """A web server of one page, whose colour is in its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, lights: str) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("real") / "home"
    with served(home, "--allow-local", "--private-host", lights) as running:
        yield running


@pytest.fixture
def browse(started: Any, server: Served) -> Iterator[Callable[[str], Browser]]:
    """Open a conversation with the key typed."""
    opened: list[Browser] = []

    def make(name: str) -> Browser:
        browser = new_browser(started, server.url)
        opened.append(browser)
        browser.open(name)
        browser.unlock(KEY)
        return browser

    yield make
    for browser in opened:
        browser.page.context.close()


def colour(place: Any, canvas: str) -> list[int]:
    """Return the colour at the middle of a canvas; nothing: there is none yet."""
    found: list[int] = place.evaluate(
        "(name) => { const c = document.querySelector(name); if (!c || !c.width) return [];"
        " const at = [c.width * 3 / 4, c.height * 3 / 4];"
        " return [...c.getContext('2d').getImageData(...at, 1, 1).data.slice(0, 3)]; }",
        canvas,
    )
    return found


def becomes(place: Any, canvas: str, wanted: tuple[int, int, int], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    # JPEG keeps colours roughly.
    while not (
        (seen := colour(place, canvas))
        and all(abs(one - other) < 12 for one, other in zip(seen, wanted, strict=True))
    ):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)


@pytest.mark.parametrize("isolation", ["sandbox", "local"])
def test_a_desktop_is_seen_and_programs_of_the_conversation_draw_on_it(
    server: Served, browse: Callable[[str], Browser], isolation: str
):
    if missing := Desktop().missing():
        pytest.skip(missing)
    if shutil.which("xsetroot") is None:
        pytest.skip("no xsetroot: install the Debian package `x11-xserver-utils`")
    name = server.create(["x"], agent={"isolation": isolation}, title="A desktop")
    browser = browse(name)
    page = browser.page
    page.get_by_role("tab", name="Desktop").click()
    page.get_by_role("button", name="Wide").click()
    page.get_by_role("button", name="Open the desktop").click()
    page.locator("#desktop-state", has_text="open").wait_for()
    screen = page.frame_locator("#desktop-frame iframe").locator("canvas").first
    screen.wait_for()
    (frame,) = [one for one in page.frames if "vnc.html" in one.url]
    place = f"/api/conversations/{name}/bash"

    def paints(command: str) -> None:
        ran = server.http.post(place, json={"command": command}).json()
        assert ran["exit_code"] == 0, ran

    paints("xsetroot -solid '#204080'")
    becomes(frame, "canvas", (0x20, 0x40, 0x80))
    paints("xsetroot -solid '#c03020'")
    becomes(frame, "canvas", (0xC0, 0x30, 0x20))
    if shutil.which("xterm"):
        # What is typed into the picture reaches the program beneath, once it has its window.
        deadline = time.monotonic() + 60
        while not (server.home / "workspaces" / name / "here").exists():
            assert time.monotonic() < deadline
            screen.click(position={"x": 60, "y": 60})  # the terminal begins in this corner
            page.keyboard.type("touch here\n")
            page.wait_for_timeout(500)
    if isolation == "sandbox":
        paints("xsetroot -solid '#30455c'")
        frame.locator("#noVNC_status.noVNC_open").wait_for(state="hidden")
        browser.picture("agents-desktop")
    # A page of the pane gets nothing of ours: no key, no routes.
    assert frame.evaluate("sessionStorage.length") == 0
    asked = "(url) => fetch(url, {credentials: 'include'}).then(a => a.status, e => e.name)"
    assert frame.evaluate(asked, f"{server.url}/api/conversations") == "TypeError"
    page.get_by_role("button", name="End it").and_(page.locator("#desktop-close")).click()
    page.locator("#desktop-state", has_text="ended").wait_for()
    assert page.locator("#desktop-frame iframe").count() == 0
    gone = server.http.post(place, json={"command": "echo [$DISPLAY]; xdpyinfo"}).json()
    assert gone["output"].startswith("[]\n")
    assert gone["exit_code"] != 0


def test_the_agents_browser_is_watched_live_and_never_touched(
    server: Served, lights: str, browse: Callable[[str], Browser]
):
    pytest.importorskip("playwright")
    opens = [call("browser_open", url=f"http://{lights}/{part}") for part in ("", "#0000ff")]
    agent = {"tools": ["browser_open"], "browser": {"private": [lights]}}
    name = server.create([opens[0], "One.", opens[1], "Two."], agent=agent, title="Lights")
    browser = browse(name)
    page = browser.page
    page.get_by_role("tab", name="Browser").click()
    page.locator("#picture-state", has_text="has not opened a browser").wait_for()
    server.say(name)
    page.locator("#picture-state", has_text="live").wait_for()
    becomes(page, "#picture", (255, 0, 0))
    assert page.locator("#picture-address").inner_text() == f"http://{lights}/"
    listed = server.http.get(f"/api/conversations/{name}/panes").json()["panes"]
    assert [one["state"] for one in listed if one["name"] == "browser"] == ["running"]
    server.rested(name)
    server.say(name, "and now the other")
    becomes(page, "#picture", (0, 0, 255))
    page.locator("#picture-address", has_text="#0000ff").wait_for()
    browser.picture("agents-browser")
    # Who only reads may watch; who looks away is no socket any more.
    asked = {"conversation": name, "scopes": ["read"]}
    token = server.http.post("/api/tokens", json=asked).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    with server.socket(f"/ws/browsers/{name}", additional_headers=headers) as line:
        first = line.recv(timeout=30)
        assert '"type":"page"' in first
        assert line.recv(timeout=30)[:2] == b"\xff\xd8"
    page.get_by_role("tab", name="Files").click()
    deadline = time.monotonic() + 20
    while server.http.get("/health").json()["sockets"] > 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_vs_code_opens_the_workspace_and_saves_into_it(
    server: Served, browse: Callable[[str], Browser]
):
    if missing := Ide().missing():
        pytest.skip(missing)
    real = Path(shutil.which("code-server")).resolve()
    is_seen = any(real.is_relative_to(place) for place in SYSTEM)
    agent = {"isolation": "sandbox" if is_seen else "local"}
    name = server.create(["x"], agent=agent, title="A page of code")
    place = f"/api/conversations/{name}/files/poem.md"
    server.http.put(place, content="# Roses\n\nRoses are red,\n")
    browser = browse(name)
    page = browser.page
    page.get_by_role("tab", name="VS Code").click()
    page.get_by_role("button", name="Wide").click()
    page.get_by_role("button", name="Open VS Code").click()
    page.locator("#ide-state", has_text="open").wait_for(timeout=120_000)
    inside = page.frame_locator("#ide-frame iframe")
    inside.locator(".monaco-workbench").wait_for(timeout=120_000)
    file = inside.locator(".explorer-folders-view .monaco-list-row", has_text="poem.md")
    file.wait_for(timeout=120_000)
    if not is_seen:  # without walls VS Code asks whether the folder may run what it likes
        inside.get_by_role("button", name="Yes, I trust the authors").click(timeout=120_000)
    file.dblclick()
    inside.locator(".view-line", has_text="Roses").first.wait_for(timeout=120_000)
    inside.locator(".monaco-editor .view-lines").first.click()
    page.keyboard.press("Control+End")
    page.keyboard.type("violets too.")
    page.keyboard.press("Control+s")
    saved = server.home / "workspaces" / name / "poem.md"
    deadline = time.monotonic() + 180
    while "violets too." not in saved.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    # Previews are frames within the frame, which a service worker of its own feeds.
    page.keyboard.press("Control+Shift+v")
    deadline = time.monotonic() + 180
    while not any(one.locator("h1", has_text="Roses").count() for one in page.frames):
        assert time.monotonic() < deadline, [one.url for one in page.frames]
        time.sleep(0.2)
    browser.picture("agents-ide")
