import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.errors import ServiceError
from models.services import temporary
from models.services.identity import ProcessId
from models.services.orchestrator import is_healthy
from models.services.ports import any_port
from models.services.process import Command
from models.services.state import StackState
from models.services.temporary import prefect_api
from models.settings import Settings

FAKE_PREFECT = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(b"true")
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of an API that answers, as a Prefect server elsewhere would."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


@pytest.fixture
def own_server(
    python_command: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
) -> list[Command]:
    """Play the Prefect server that we would start; the list tells how often we did."""
    started: list[Command] = []

    def fake(settings: Settings, port: int, *, temporary: bool) -> Command:
        assert temporary
        url = f"http://127.0.0.1:{port}"
        source = FAKE_PREFECT.format(port=port)
        started.append(
            python_command(source, url=url, port=port, probe=lambda: is_healthy(f"{url}/api"))
        )
        return started[-1]

    monkeypatch.setattr(temporary, "prefect_server", fake)
    return started


def test_the_server_named_by_the_settings_is_used(
    settings: Settings, answering: str, own_server: list[Command], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")  # the setting goes first
    with prefect_api(settings.model_copy(update={"prefect_api_url": answering})) as url:
        assert url == answering
    assert own_server == []


def test_the_server_named_by_prefects_own_variable_is_used(
    settings: Settings, answering: str, own_server: list[Command], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_API_URL", answering + "/")
    with prefect_api(settings) as url:
        assert url == answering
    assert own_server == []


def test_a_named_server_that_does_not_answer_is_an_error_that_names_the_variable(
    settings: Settings, own_server: list[Command], monkeypatch: pytest.MonkeyPatch
):
    dead = f"http://127.0.0.1:{any_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", dead)
    with pytest.raises(ServiceError) as caught, prefect_api(settings):
        pytest.fail("nobody answers there")
    assert f"PREFECT_API_URL names {dead}" in str(caught.value)
    assert "unset the variable" in str(caught.value)
    assert own_server == []


def test_the_running_stack_is_used(settings: Settings, answering: str, own_server: list[Command]):
    me = ProcessId.of(os.getpid())
    StackState(me, "2026-01-01", True, prefect_api_url=answering).write(settings.state_file)
    with prefect_api(settings) as url:
        assert url == answering
    assert own_server == []


def test_a_stack_whose_server_hangs_is_an_error_and_no_second_server(
    settings: Settings, own_server: list[Command]
):
    me, dead = ProcessId.of(os.getpid()), f"http://127.0.0.1:{any_port()}/api"
    StackState(me, "2026-01-01", True, prefect_api_url=dead).write(settings.state_file)
    with pytest.raises(ServiceError, match="does not answer"), prefect_api(settings):
        pytest.fail("nobody answers there")
    assert own_server == []


def test_without_any_server_our_own_starts_and_ends_with_the_block(
    settings: Settings, own_server: list[Command]
):
    told: list[str] = []
    with prefect_api(settings, told.append) as url:
        assert url == f"{own_server[0].url}/api"
        assert is_healthy(url)
    assert not is_healthy(url)
    assert len(told) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_our_own_server_ends_when_the_block_does_not_end_well(
    settings: Settings, own_server: list[Command], error: type[BaseException]
):
    with pytest.raises(error), prefect_api(settings) as url:
        raise error
    assert not is_healthy(url)


def test_a_server_of_our_own_that_cannot_start_says_why(
    settings: Settings, python_command: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
):
    def failing(settings: Settings, port: int, *, temporary: bool) -> Command:
        source = "print('no such table: flow_run'); raise SystemExit(1)"
        return python_command(source, name="temporary Prefect server", probe=lambda: False)

    monkeypatch.setattr(temporary, "prefect_server", failing)
    with pytest.raises(ServiceError, match="no such table: flow_run"), prefect_api(settings):
        pytest.fail("it never started")


def test_the_home_is_made_when_it_is_missing(settings: Settings, own_server: list[Command]):
    assert not Path(settings.home).exists()
    with prefect_api(settings):
        assert Path(settings.home).is_dir()
