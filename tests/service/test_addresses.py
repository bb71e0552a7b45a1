"""Which addresses a server may be sent to: the public ones, in whatever form they come."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.service.addresses import is_address, refusal

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:200::1",
    "2a00:1450::",
]

NOT_PUBLIC = {
    "an unspecified address": ["0.0.0.0", "0.1.2.3", "::"],
    "a loopback address": ["127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1"],
    "a private address": [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "fc00::1",
        "fd00:ec2::254",
    ],
    "a private address behind carrier-grade NAT": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "a link-local address": ["169.254.169.254", "169.254.0.1", "fe80::1", "febf::1"],
    "a site-local address": ["fec0::1", "feff::1"],
    "a multicast address": ["224.0.0.1", "239.255.255.250", "ff02::1"],
    "a broadcast address": ["255.255.255.255"],
    "a reserved address": ["240.0.0.1", "254.1.1.1", "4000::1", "8000::1", "fe00::1"],
    "an address reserved for protocols": ["192.0.0.192", "2001:10::1"],
    "an address reserved for documentation": [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.9",
        "2001:db8::1",
        "3fff::1",
    ],
    "an address reserved for benchmarks": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "an address of a 6to4 relay": ["192.88.99.1"],
    "an address of the cloud platform": ["168.63.129.16"],
    "a discard-only address": ["100::1"],
    "an IPv4-mapped address": ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe"],
    "an IPv4-translated address": ["::ffff:0:127.0.0.1"],
    "an IPv4-compatible address": ["::127.0.0.1", "::8.8.8.8"],
    "a 6to4 address": ["2002:7f00:1::", "2002:808:808::1"],
    "a Teredo address": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "a private NAT64 address": ["64:ff9b:1::a9fe:a9fe"],
    "an address with a zone": ["fe80::1%eth0", "2606:4700::1%1"],
    "something that is no IP address": [
        "",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "[::1]",
    ],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not_refused(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(("what", "address"), [(w, a) for w, every in NOT_PUBLIC.items() for a in every])
def test_everything_else_is_refused_by_name(what: str, address: str) -> None:
    assert refusal(address) == what


@given(st.ip_addresses())
def test_what_is_not_refused_is_global_by_the_standard_library_too(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if refusal(str(ip)) is None and ip not in ipaddress.ip_network("64:ff9b::/96"):
        assert ip.is_global and not ip.is_multicast


@given(st.ip_addresses(v=4))
def test_behind_nat64_the_address_inside_decides(ip: ipaddress.IPv4Address) -> None:
    assert refusal(f"64:ff9b::{ip}") == refusal(str(ip))


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "::{}", "::ffff:0:{}"]))
def test_other_ways_to_carry_an_ipv4_address_are_refused(ip: ipaddress.IPv4Address, form: str) -> None:
    assert refusal(form.format(ip)) is not None


@given(st.text())
def test_text_that_is_no_address_is_refused(text: str) -> None:
    assert is_address(text) or refusal(text) == "something that is no IP address"
