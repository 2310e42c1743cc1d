"""Whether a guest runs SELinux, and what follows from it."""

import pytest

from growdisk.guest_config.customize.changes import FileOwner, GuestChanges
from growdisk.guest_config.customize.customize import customize
from growdisk.guest_config.files import selinux_is_on, swap_file_label

STOCK = """\
# This file controls the state of SELinux on the system.
# SELINUX= can take one of these three values:
#     disabled - No SELinux policy is loaded.
# NOTE: Up to RHEL 8 release included, SELINUX=disabled would also
# fully disable SELinux during boot.
SELINUX={mode}
SELINUXTYPE=targeted
"""


class Guest:
    """A guest that has one file."""

    def __init__(self, config: str) -> None:
        self.files = {"/etc/selinux/config": config.encode()}

    def exists(self, path: str) -> bool:
        return path in self.files

    def read(self, path: str) -> bytes:
        return self.files[path]

    def put(self, path: str, content: bytes, owner: FileOwner) -> None:
        self.files[path] = content


@pytest.mark.parametrize(
    "config",
    [
        STOCK.format(mode="enforcing"),
        STOCK.format(mode="permissive"),
        "SELINUX=Enforcing\n",
        "SELINUX= enforcing # as ever\n",
        "SELINUX=enforcing\nSELINUX=disabled\n",
        " SELINUX=disabled\n",
        "#SELINUX=disabled\n",
    ],
)
def test_selinux_is_on_as_libselinux_reads_it(config: str) -> None:
    assert selinux_is_on(Guest(config))  # type: ignore[arg-type]
    assert swap_file_label(Guest(config)).endswith(":swapfile_t:s0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        "",
        STOCK.format(mode="disabled"),
        "SELINUX=Disabled\n",
        "SELINUX= disabled\n",
        "SELINUX=nonsense\nSELINUX=disabled\n",
        "SELINUX=disabled\nSELINUX=enforcing\n",
    ],
)
def test_selinux_is_off_as_libselinux_reads_it(config: str) -> None:
    assert not selinux_is_on(Guest(config))  # type: ignore[arg-type]
    assert swap_file_label(Guest(config)) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "relabelled"), [("enforcing", True), ("disabled", False)])
def test_a_comment_that_names_disabled_does_not_keep_a_guest_from_its_labels(
    mode: str, relabelled: bool
) -> None:
    guest = Guest(STOCK.format(mode=mode))
    said = list(customize(guest, GuestChanges(new_ssh_host_keys=False)))  # type: ignore[arg-type]
    assert ("/.autorelabel" in guest.files) is relabelled
    assert len(said) == relabelled
