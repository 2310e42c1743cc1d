"""fstab after a partition is gone: with its own line go those of what was in it."""

from __future__ import annotations

from growdisk.guest_config.etc_tables import without_swap
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy

DATA = RemovedPartition(number=5, uuid="0da7a000-6e5b-4d4e-9a53-0d4a58a1c0de", is_swap=False)
GONE = "# removed by growdisk: "


def test_folders_and_files_of_a_partition_that_is_gone_are_no_longer_mounted() -> None:
    lines = {
        "/dev/sda1 / ext4 defaults 0 1": False,
        # before the line that mounts it, which systemd takes as well
        "/my\\040data/srv /srv none bind 0 0": True,
        f"UUID={DATA.uuid} /my\\040data ext4 defaults 0 2": True,
        "LABEL=more /my\\040data/more ext4 defaults 0 2": False,
        "/my\\040data/more/x /x none bind 0 0": False,
        "/srv/www /var/www none bind 0 0": True,
        "/my\\040data/swapfile none swap sw 0 0": True,
        "/my\\040data2/x /y none bind 0 0": False,
        "overlay /o overlay lowerdir=/usr/l:/my\\040data/l,upperdir=/u,workdir=/w 0 0": True,
        "overlay /p overlay lowerdir=/usr/l,upperdir=/my\\040data2/u,workdir=/w 0 0": False,
        "/swapfile none swap sw 0 0": False,
        "//server/my\\040data /z cifs defaults 0 0": False,
    }
    expected = "".join(f"{GONE if gone else ''}{line}\n" for line, gone in lines.items())
    text = "".join(f"{line}\n" for line in lines)
    assert without_swap(text, DATA, SwapRemedy.DROP) == expected
    assert without_swap(expected, DATA, SwapRemedy.DROP) == expected


def test_a_root_that_is_gone_takes_no_other_line_along() -> None:
    rest = "/swapfile none swap sw 0 0\n/dev/sdb1 /b ext4 defaults 0 2\n/home/x /x none bind 0 0\n"
    assert without_swap(f"/dev/sda5 / ext4 defaults 0 1\n{rest}", DATA, SwapRemedy.DROP).endswith(
        f"1\n{rest}"
    )
