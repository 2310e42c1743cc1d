"""Addresses of served disks: what is one, what it means, and when two are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.block.address import Address, address_of
from growdisk.block.identity import identity_of_served
from growdisk.errors import UsageError


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("nbd://far/web01", Address("nbd", "web01", "far", 10809)),
        ("nbd://far:10810", Address("nbd", "", "far", 10810)),
        ("nbd://[::1]/a/b", Address("nbd", "a/b", "::1", 10809)),
        ("nbd://far//dev/x", Address("nbd", "/dev/x", "far", 10809)),
        ("nbd+unix:///web%2001?socket=/run/far", Address("nbd+unix", "web 01", socket="/run/far")),
        ("nbd+unix:///?socket=/run/a%26b", Address("nbd+unix", "", socket="/run/a&b")),
        (
            "ssh://root@far:2222/srv/web01.raw",
            Address("ssh", "/srv/web01.raw", "far", 2222, user="root"),
        ),
        ("ssh://far/srv/a%20b", Address("ssh", "/srv/a b", "far", 0)),
        ("guest.raw", None),
        ("rbd:pool/image", None),
        ("nbds://far/web01", None),
    ],
)
def test_an_address_is_read_as_it_is_meant(word: str, found: Address | None) -> None:
    assert address_of(word) == found
    if found is not None:
        assert address_of(str(found)) == found
        if "//" not in word.partition("://")[2]:
            assert address_of(str(Path(word))) == found  # which has one slash less


@pytest.mark.parametrize(
    "word",
    [
        "nbd:///web01", "nbd://far:x/web01", "nbd://me@far/web01", "nbd+unix:///web01",
        "nbd+unix:///x?socket=far",
        "ssh://far", "ssh://far/folder/", "ssh://me:secret@far/x", "ssh://-oProxyCommand=x/y",
        "ssh://-l@far/x",
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_a_usage_error(word: str) -> None:
    with pytest.raises(UsageError):
        address_of(word)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("nbd://FAR/web01", "nbd://far:10809/web01"),
        ("ssh://root@far/srv/x.raw", "ssh://far/srv/x.raw"),
        ("nbd://127.0.0.1/web01", "nbd://localhost/web01"),
        ("nbd://[::1]/web01", "nbd://LocalHost/web01"),
    ],
)
def test_one_disk_has_one_run_however_it_is_written(one: str, other: str) -> None:
    first, second = address_of(one), address_of(other)
    assert first is not None and second is not None
    assert identity_of_served(first) == identity_of_served(second)
