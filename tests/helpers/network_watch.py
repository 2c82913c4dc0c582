"""Prints the names that are looked up and the addresses that are sent to from this network, but for the stack's own.

Run inside a container's network, with no package beside Python's own: ``nsenter --target PID --net python3 THIS``.
"""

from __future__ import annotations

import ipaddress
import signal
import socket
import struct
import sys

_ALL_PROTOCOLS, _IPV4, _IPV6, _UDP = 3, 0x0800, 0x86DD, 17
_OUTGOING = 4
_OWN_NAMES = {"server", "worker", "page", "database", "localhost"}


def name_asked(datagram: bytes) -> str:
    """The name in a question of the domain name system; ``""`` where it is none."""
    if len(datagram) < 13 or datagram[2] & 0x80 or struct.unpack("!H", datagram[4:6])[0] != 1:
        return ""
    labels, place = [], 12
    while place < len(datagram) and (length := datagram[place]):
        if length > 63:
            return ""
        labels.append(datagram[place + 1 : place + 1 + length])
        place += 1 + length
    return ".".join(label.decode("ascii", "replace") for label in labels)


def is_own(address: str) -> bool:
    """Whether an address is this machine's or the stack's: loopback, or private as the engine gives them."""
    found = ipaddress.ip_address(address)
    return found.is_loopback or found.is_link_local or found.is_multicast or found.is_private


def seen(frame: bytes) -> tuple[str, str]:
    """Of a frame of Ethernet: the address that it is sent to, and the name that it asks for."""
    kind, packet = struct.unpack("!H", frame[12:14])[0], frame[14:]
    if kind == _IPV4 and len(packet) >= 20:
        address, protocol, rest = socket.inet_ntoa(packet[16:20]), packet[9], packet[(packet[0] & 15) * 4 :]
    elif kind == _IPV6 and len(packet) >= 40:
        address, protocol, rest = socket.inet_ntop(socket.AF_INET6, packet[24:40]), packet[6], packet[40:]
    else:
        return "", ""
    # The engine moves questions of names to a port of its own, so any datagram to this machine may be one.
    return address, name_asked(rest[8:]) if protocol == _UDP and ipaddress.ip_address(address).is_loopback else ""


def main() -> None:
    """Watch until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    told: set[str] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS)) as link:
        while True:
            frame, where = link.recvfrom(65_535)
            if where[2] != _OUTGOING:
                continue
            address, name = seen(frame)
            for word in (address if address and not is_own(address) else "", "" if name in _OWN_NAMES else name):
                if word and word not in told:
                    told.add(word)
                    print(word, flush=True)


if __name__ == "__main__":
    main()
