"""Ways out by the network. Each returns what it reached, or raises what stopped it."""

from __future__ import annotations

import os
import socket
from typing import Any


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


def internet_tcp(outside: dict[str, Any]) -> str:
    """Reach an address of the internet."""
    with socket.create_connection(("1.1.1.1", 443), timeout=3):
        return "connected to 1.1.1.1:443"


def internet_tcp6(outside: dict[str, Any]) -> str:
    """Reach an IPv6 address of the internet."""
    with socket.create_connection(("2606:4700:4700::1111", 443), timeout=3):
        return "connected to 2606:4700:4700::1111"


def metadata_service(outside: dict[str, Any]) -> str:
    """Reach the address where clouds hand out credentials."""
    with socket.create_connection(("169.254.169.254", 80), timeout=3):
        return "connected to 169.254.169.254"


def metadata_service6(outside: dict[str, Any]) -> str:
    """Reach the IPv6 address where clouds hand out credentials."""
    with socket.create_connection(("fd00:ec2::254", 80), timeout=3):
        return "connected to fd00:ec2::254"


def container_credentials(outside: dict[str, Any]) -> str:
    """Reach the address where containers get credentials."""
    with socket.create_connection(("169.254.170.2", 80), timeout=3):
        return "connected to 169.254.170.2"


def private_network(outside: dict[str, Any]) -> str:
    """Reach a neighbour in a private network."""
    with socket.create_connection(("10.0.0.1", 80), timeout=3):
        return "connected to 10.0.0.1"


def dns_datagram(outside: dict[str, Any]) -> str:
    """Send a datagram to a public name server: names can carry data out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        return f"sent {link.sendto(b'x', ('8.8.8.8', 53))} byte"


def name_lookup(outside: dict[str, Any]) -> str:
    """Have a name looked up."""
    return str(socket.getaddrinfo("example.com", 80)[0][4])


def multicast(outside: dict[str, Any]) -> str:
    """Send to all hosts of the local network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        return f"sent {link.sendto(b'x', ('224.0.0.1', 5353))} byte"


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
