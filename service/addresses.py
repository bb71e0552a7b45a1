"""Which IP addresses a server may be sent to by strangers: the public ones.

The tables are the special-purpose registries of IANA (RFC 6890 and its updates) and not the `is_global` of
the standard library, whose answers change between Python versions.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_NOT_PUBLIC_4 = {
    IPv4Network("0.0.0.0/8"): "an unspecified address",
    IPv4Network("10.0.0.0/8"): "a private address",
    IPv4Network("100.64.0.0/10"): "a private address behind carrier-grade NAT",
    IPv4Network("127.0.0.0/8"): "a loopback address",
    # The host's own services on Azure, although the range looks public.
    IPv4Network("168.63.129.16/32"): "an address of the cloud platform",
    IPv4Network("169.254.0.0/16"): "a link-local address",
    IPv4Network("172.16.0.0/12"): "a private address",
    IPv4Network("192.0.0.0/24"): "an address reserved for protocols",
    IPv4Network("192.0.2.0/24"): "an address reserved for documentation",
    IPv4Network("192.88.99.0/24"): "an address of a 6to4 relay",
    IPv4Network("192.168.0.0/16"): "a private address",
    IPv4Network("198.18.0.0/15"): "an address reserved for benchmarks",
    IPv4Network("198.51.100.0/24"): "an address reserved for documentation",
    IPv4Network("203.0.113.0/24"): "an address reserved for documentation",
    IPv4Network("224.0.0.0/4"): "a multicast address",
    IPv4Network("255.255.255.255/32"): "a broadcast address",
    IPv4Network("240.0.0.0/4"): "a reserved address",
}

_NOT_PUBLIC_6 = {
    IPv6Network("::/128"): "an unspecified address",
    IPv6Network("::1/128"): "a loopback address",
    IPv6Network("::ffff:0:0/96"): "an IPv4-mapped address",
    IPv6Network("::ffff:0:0:0/96"): "an IPv4-translated address",
    IPv6Network("::/96"): "an IPv4-compatible address",
    IPv6Network("64:ff9b:1::/48"): "a private NAT64 address",
    IPv6Network("100::/64"): "a discard-only address",
    IPv6Network("2001::/32"): "a Teredo address",
    IPv6Network("2001:2::/48"): "an address reserved for benchmarks",
    IPv6Network("2001::/23"): "an address reserved for protocols",
    IPv6Network("2001:db8::/32"): "an address reserved for documentation",
    IPv6Network("2002::/16"): "a 6to4 address",
    IPv6Network("3fff::/20"): "an address reserved for documentation",
    IPv6Network("fc00::/7"): "a private address",
    IPv6Network("fe80::/10"): "a link-local address",
    IPv6Network("fec0::/10"): "a site-local address",
    IPv6Network("ff00::/8"): "a multicast address",
}

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address in standard notation."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def refusal(address: str) -> str | None:
    """Why an IP address must not be connected to.

    Forms that carry an IPv4 address inside an IPv6 one are refused as such, whatever they carry: only
    tunnels need them. The exception is NAT64, through which IPv6-only networks reach all of IPv4: there the
    address inside decides.

    Args:
        address: an address in standard notation.

    Returns:
        What it is, such as "a loopback address", or None if it is public. Text that is no address is refused.
    """
    if not is_address(address):
        return "something that is no IP address"
    ip = ipaddress.ip_address(address)
    return _refusal_4(ip) if isinstance(ip, IPv4Address) else _refusal_6(ip)


def _refusal_4(ip: IPv4Address) -> str | None:
    return next((what for network, what in _NOT_PUBLIC_4.items() if ip in network), None)


def _refusal_6(ip: IPv6Address) -> str | None:
    if ip.scope_id is not None:
        return "an address with a zone"
    if ip in _NAT64:
        return _refusal_4(IPv4Address(int(ip) & 0xFFFF_FFFF))
    refused = next((what for network, what in _NOT_PUBLIC_6.items() if ip in network), None)
    return refused if refused or ip in _GLOBAL_UNICAST else "a reserved address"
