import os
import socket
from collections.abc import Iterator

import pytest

from models.errors import ConfigError, PortTakenError, ServiceError
from models.services.ports import any_port, choose_port, holder, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_free_preferred_port_is_taken():
    port = any_port()
    assert choose_port(port) == port


def test_a_held_preferred_port_gives_the_next_free_one(taken: int):
    port = choose_port(taken)
    assert taken < port <= taken + 100
    assert is_free(port)


def test_a_port_promised_to_another_server_is_not_given_twice():
    port = any_port()
    assert choose_port(port, avoid={port}) != port


def test_a_held_fixed_port_is_an_error_that_names_its_holder_and_the_way_out(taken: int):
    with pytest.raises(PortTakenError) as caught:
        choose_port(taken, fixed="--prefect-port")
    message = str(caught.value)
    assert f"--prefect-port {taken}" in message
    assert f"process {os.getpid()}" in message
    assert "leave --prefect-port out" in message


def test_a_server_on_one_address_holds_the_port_of_all(taken: int):
    assert not is_free(taken, "0.0.0.0")


def test_the_holder_of_a_free_port_is_nobody_we_can_see():
    assert "may not see" in holder(any_port())


@pytest.mark.parametrize("number", [0, -1, 65_536, 70_000])
def test_an_impossible_port_number_is_refused(number: int):
    with pytest.raises(ConfigError, match="from 1 to 65535"):
        choose_port(number)


def test_an_address_of_another_machine_is_refused_with_the_setting_to_mend():
    # 192.0.2.0/24 is reserved for documentation (RFC 5737): nobody has it.
    with pytest.raises(ServiceError, match="LOOM_HOST"):
        is_free(any_port(), "192.0.2.1")
