"""Ways out by the network. Each returns what it reached, or raises what stopped it."""

from __future__ import annotations

import os
import socket
from typing import Any

from models.sandbox.probes.inside import route_to


def host_loopback(outside: dict[str, Any]) -> str:
    """Talk to a server on the host's own loopback."""
    with socket.create_connection(("127.0.0.1", outside["port"]), timeout=3) as link:
        return link.recv(100).decode()


def host_abstract_socket(outside: dict[str, Any]) -> str:
    """Talk to an abstract Unix socket of the host."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(3)
        link.connect("\0" + outside["abstract"])
        return link.recv(100).decode()


def host_unix_socket(outside: dict[str, Any]) -> str:
    """Talk to a Unix socket by its path on the host."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(3)
        link.connect(outside["socket"])
        return link.recv(100).decode()


def internet(outside: dict[str, Any]) -> str:
    """Find a way to an address of the internet."""
    return route_to(socket.AF_INET, "1.1.1.1", 443)


def metadata_service(outside: dict[str, Any]) -> str:
    """Find a way to the address where clouds hand out credentials."""
    return route_to(socket.AF_INET, "169.254.169.254", 80)


def container_credentials(outside: dict[str, Any]) -> str:
    """Find a way to the address where containers get credentials."""
    return route_to(socket.AF_INET, "169.254.170.2", 80)


def private_network(outside: dict[str, Any]) -> str:
    """Find a way to a neighbour in a private network."""
    return route_to(socket.AF_INET, "10.0.0.1", 80)


def name_server(outside: dict[str, Any]) -> str:
    """Find a way to a public name server: names can carry data out."""
    return route_to(socket.AF_INET, "8.8.8.8", 53)


def multicast(outside: dict[str, Any]) -> str:
    """Find a way to all hosts of the local network."""
    return route_to(socket.AF_INET, "224.0.0.1", 5353)


def internet6(outside: dict[str, Any]) -> str:
    """Find a way to an IPv6 address of the internet."""
    return route_to(socket.AF_INET6, "2606:4700:4700::1111", 443)


def metadata_service6(outside: dict[str, Any]) -> str:
    """Find a way to the IPv6 address where clouds hand out credentials."""
    return route_to(socket.AF_INET6, "fd00:ec2::254", 80)


def raw_socket(outside: dict[str, Any]) -> str:
    """Make packets by hand."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        return "a raw socket"


def packet_socket(outside: dict[str, Any]) -> str:
    """Listen to all frames of an interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0):
        return "a packet socket"


def hypervisor_socket(outside: dict[str, Any]) -> str:
    """Make a socket that leads to the hypervisor: network namespaces do not hold it."""
    with socket.socket(40, socket.SOCK_STREAM):
        return "a vsock socket"


def kernel_crypto_socket(outside: dict[str, Any]) -> str:
    """Make a socket to the kernel's crypto code, which has a history of holes."""
    with socket.socket(38, socket.SOCK_SEQPACKET):
        return "an AF_ALG socket"


def device_events(outside: dict[str, Any]) -> str:
    """Listen to the kernel's device events by netlink."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as link:
        link.bind((os.getpid(), 1))
        return "an uevent socket"
