"""Which network addresses the gateway may reach on behalf of a caller."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# What is not globally reachable is refused by the IANA special-purpose registries that `ipaddress` holds.
# These are refused besides: they lead elsewhere than they seem, to a cloud's own services, or are newer.
_REFUSED: Final[tuple[_IpNetwork, ...]] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT; some clouds' metadata
        "168.63.129.16/32",  # Azure's host agent
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",  # IPv4-compatible, deprecated
        "64:ff9b::/96",  # NAT64: an IPv4 address inside
        "64:ff9b:1::/48",  # NAT64 for local use
        "100::/64",
        "2001::/23",  # Teredo, ORCHID and others
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",  # site-local, deprecated
        "ff00::/8",
        "fd00:ec2::254/128",  # AWS metadata over IPv6
    )
)


class AddressPolicy:
    """Public addresses only, and what `allowed` names: host names, addresses or CIDRs."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        """Raises `ValueError` for an entry that is neither."""
        hosts: set[str] = set()
        networks: list[_IpNetwork] = []
        for entry in allowed:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if "/" in entry or not entry:
                    raise
                hosts.add(entry.lower().rstrip("."))
        self._hosts = frozenset(hosts)
        self._networks = tuple(networks)

    def permits(self, host: str, address: IpAddress) -> bool:
        """Whether a connection to the address, which the host name stands for, may be made."""
        if host.lower().rstrip(".") in self._hosts:
            return True
        plain = _unmapped(address)
        if any(plain.version == network.version and plain in network for network in self._networks):
            return True
        return _public(address) and _public(plain)


def _unmapped(address: IpAddress) -> IpAddress:
    """The IPv4 address inside an IPv4-mapped IPv6 one (::ffff:a.b.c.d), which the kernel connects to."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _public(address: IpAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            return _public(address.ipv4_mapped)
    if any(address.version == network.version and address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
