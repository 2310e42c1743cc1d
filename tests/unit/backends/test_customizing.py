"""Names, accounts and passwords of a guest as texts."""

from __future__ import annotations

import subprocess

import pytest

from growdisk.errors import UsageError
from growdisk.guest_config.customize.customize import account_of, accounts, hosts_for, with_password
from growdisk.guest_config.customize.given_values import (
    check_hash,
    check_hostname,
    hash_password,
)
from tests.refusals import raises

DEBIAN = (
    "127.0.0.1\tlocalhost\n127.0.1.1\told.example\told\n\n# IPv6\n::1 localhost "
    "ip6-localhost\n10.0.0.7 old-db\n"
)


def test_only_the_guests_own_lines_of_hosts_change() -> None:
    expected = DEBIAN.replace("127.0.1.1\told.example\told", "127.0.1.1\tweb.example web")
    assert hosts_for(DEBIAN, "old", "web.example") == expected


def test_a_guest_without_an_own_line_gets_one_and_loopback_forgets_the_old_name() -> None:
    assert hosts_for("127.0.0.1 localhost old\n::1 old\n", "old", "web") == (
        "127.0.0.1\tlocalhost\n127.0.1.1\tweb\n::1\tlocalhost\n"
    )
    assert hosts_for("", "", "web") == "127.0.1.1\tweb\n"
    assert (
        hosts_for("127.0.0.1 localhost\n", "localhost", "web")
        == "127.0.0.1 localhost\n127.0.1.1\tweb\n"
    )


def test_naming_a_guest_twice_changes_nothing() -> None:
    once = hosts_for(DEBIAN, "old", "web")
    assert hosts_for(once, "web", "web") == once


@pytest.mark.parametrize("name", ["web", "web-1.example.org", "a" * 63, "1"])
def test_hostnames_that_linux_takes(name: str) -> None:
    check_hostname(name)


@pytest.mark.parametrize(
    "name", ["-web", "web-", "we b", "web_1", "a" * 64, "a..b", "web\n", "wéb", "{n}"]
)
def test_hostnames_that_nobody_takes(name: str) -> None:
    with pytest.raises(UsageError):
        check_hostname(name)


def test_users_are_found_and_lines_that_make_no_sense_are_not() -> None:
    passwd = (
        "root:x:0:0:root:/root:/bin/sh\nbroken\n+nis::::::\nann:x:1000:100:Ann:/home/ann:/bin/sh\n"
    )
    assert sorted(accounts(passwd)) == ["ann", "root"]
    assert account_of(passwd, "ann", "x").home == "/home/ann"
    with raises("cannot-customize", match="bob") as caught:
        account_of(passwd, "bob", "set a password")
    assert "root, ann" in caught.value.what_to_do


def test_a_password_takes_the_place_of_the_old_one_and_of_nothing_else() -> None:
    shadow = "root:*:1:0:99999:7:::\nann:!:2:0:99999:7::20000:\n"
    assert (
        with_password(shadow, "ann", "HASH", 9)
        == "root:*:1:0:99999:7:::\nann:HASH:9:0:99999:7::20000:\n"
    )
    assert with_password(shadow, "new", "HASH", 9).splitlines()[2] == "new:HASH:9:0:99999:7:::"


def test_hashes_are_what_libcrypt_itself_makes_of_the_same_salt() -> None:
    for hashed in hash_password(b"p\xc3\xa4ss"):
        perl = ["perl", "-e", b"chomp(my $h = <STDIN>); print crypt(qq(p\xc3\xa4ss), $h)"]
        assert (
            subprocess.run(perl, input=hashed.encode(), capture_output=True).stdout
            == hashed.encode()
        )
        assert check_hash(hashed) == hashed


def test_salts_are_new_unless_they_are_to_be_the_same() -> None:
    assert hash_password(b"x") != hash_password(b"x")
    assert hash_password(b"x", "web root") == hash_password(b"x", "web root")
    assert hash_password(b"x", "web root") != hash_password(b"x", "db root")
    setting = hash_password(b"x", "web root")[0].rpartition("$")[0]
    assert hash_password(b"y", "web root")[0].startswith(setting), (
        "the salt tells nothing of the password"
    )


@pytest.mark.parametrize(
    "text", ["secret", "", "$1$abcdefgh$1234567890123456789012", "$6$", "$y$j9T$x:y$" + "a" * 43]
)
def test_what_is_no_hash_does_not_get_into_a_guest(text: str) -> None:
    with pytest.raises(UsageError):
        check_hash(text)


@pytest.mark.parametrize("clear", [b"", b"two\nlines", b"nul\0"])
def test_what_nobody_can_type_is_no_password(clear: bytes) -> None:
    with pytest.raises(UsageError):
        hash_password(clear)
