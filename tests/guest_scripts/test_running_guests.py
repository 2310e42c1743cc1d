"""The scripts in running guests with various tools: the disk grows, foreign tools judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.api.disks import inspect
from growdisk.guest_scripts.answers import ScriptOutcome
from growdisk.guest_scripts.script_plan import RUN_ORDER, Phase
from growdisk.planner.goal import SwapPolicy
from tests.guest_scripts.micro import EXT, PARTED, UTIL_LINUX
from tests.guest_scripts.worlds import RUN, make_world
from tests.guests.content import directory, text
from tests.guests.layouts import Layout

pytestmark = pytest.mark.boot

_WRITER = "i=0; while :; do i=$((i+1)); echo $i >>/root/record; sync; done"


def test_a_running_guest_grows_without_a_restart_and_a_second_run_finds_nothing_to_do(
    tmp_path: Path,
) -> None:
    world = make_world(tmp_path, (*UTIL_LINUX, *EXT))
    with world.booted(grown=False) as guest:
        early = guest.phase(Phase.PREPARE, RUN)
        # the disk has not grown yet
        assert (early.result, early.facts.arranged) == (ScriptOutcome.REBOOT, False)
        boot = guest.phase(Phase.INSPECT, RUN).facts.boot_id
    with world.booted() as guest:
        guest.start(_WRITER)
        answers = [guest.phase(phase, RUN) for phase in RUN_ORDER]
        assert {answer.result for answer in answers} == {ScriptOutcome.DONE}
        assert (answers[0].facts.table, answers[0].facts.tool) == ("before", "sfdisk")
        assert answers[0].facts.boot_id not in ("", boot)
        assert answers[1].facts.saved[0].hex.endswith("55aa")
        again = [guest.phase(phase, RUN, on_stdin=True) for phase in RUN_ORDER[1:-1]]
        assert {answer.result for answer in again} == {ScriptOutcome.ALREADY}
        assert guest.phase(Phase.VERIFY, RUN).facts.boot_id == answers[0].facts.boot_id
        refused = guest.phase(Phase.UNDO, RUN)
        assert (refused.result, "grown" in refused.what) == (ScriptOutcome.REFUSED, True)
        record = guest.run("cat /root/record").split()
        assert record == [str(number) for number in range(1, len(record) + 1)]
        guest.commit()
    world.judge()


def test_swap_that_memory_cannot_take_stays_on(tmp_path: Path) -> None:
    world = make_world(tmp_path, (*UTIL_LINUX, *EXT))
    with world.booted() as guest:
        guest.run(
            "mkdir /run/fill; mount -t tmpfs -o size=100% none /run/fill; n=0; "
            "while [ \"$(awk 'NR > 1 { print $4 }' /proc/swaps)\" -lt 20000 ]; do n=$((n + 1)); "
            "dd if=/dev/zero of=/run/fill/$n bs=1048576 count=2 2>/dev/null; done",
            timeout=600,
        )
        refused = guest.phase(Phase.PREPARE, RUN)
        assert (refused.result, "too little memory" in refused.what) == (
            ScriptOutcome.REFUSED,
            True,
        ), refused
        assert "end some programs" in refused.do
        assert len(guest.phase(Phase.INSPECT, RUN).facts.swaps) == 1
        guest.run("umount /run/fill")
        assert guest.drive(Phase.VERIFY, RUN).result is ScriptOutcome.DONE
        guest.commit()
    world.judge()


_SLOW, _GPT = pytest.mark.slow, Layout.GPT_SWAP_BEHIND


@pytest.mark.parametrize(
    ("tools", "layout", "swap", "bus", "tool"),
    [
        pytest.param(("flock", *PARTED, *EXT), Layout.CLASSIC, "move", "scsi", "parted",
            id="parted-mbr"),
        pytest.param(("partx", *EXT), Layout.CLASSIC, "move", "virtio", "fdisk",
            id="busybox-fdisk-mbr"),
        pytest.param(("sfdisk", "partx", *EXT), _GPT, "move", "scsi", "sfdisk", id="gpt",
            marks=_SLOW),
        pytest.param((*PARTED, *EXT), _GPT, "file", "scsi", "parted", id="parted-gpt", marks=_SLOW),
    ],
)  # fmt: skip
def test_each_tool_writes_the_planned_table(
    tmp_path: Path, tools: tuple[str, ...], layout: Layout, swap: SwapPolicy, bus: str, tool: str
) -> None:
    # Whoever waits for udev here waits for ever: it cannot do anything while the disk is locked.
    committing = text("sbin/udevadm", "#!/bin/sh\nexec sleep 10000\n", 0o755)
    world = make_world(tmp_path, tools, layout=layout, swap=swap, bus=bus, extra=(committing,))
    with world.booted() as guest:
        answer = guest.drive(Phase.VERIFY, RUN)
        assert answer.result is ScriptOutcome.DONE, (answer, guest.run("cat /var/log/growdisk.log"))
        assert f"written by {tool}" in guest.run("cat /var/log/growdisk.log")
        swaps = guest.phase(Phase.INSPECT, RUN).facts.swaps
        assert len(swaps) == 1
        guest.commit()
    world.judge()
    old, new = world.facts, inspect(world.disk)
    for swap_space in world.plan.swaps if swap == "move" else ():
        assert new.contents[swap_space.number].uuid == old.contents[swap_space.number].uuid


@_SLOW
def test_fdisk_of_util_linux_writes_it_as_well_and_dash_runs_it(tmp_path: Path) -> None:
    world = make_world(tmp_path, ("dash", "fdisk", "flock", "partx", *EXT), swap="file")
    with world.booted() as guest:
        for phase in RUN_ORDER:
            answer = guest.phase(phase, RUN, shell="dash")
            assert answer.result in (ScriptOutcome.DONE, ScriptOutcome.ALREADY), (
                answer,
                guest.run("cat /var/log/growdisk.log"),
            )
        assert "fdisk of util-linux" in guest.run("cat /var/log/growdisk.log")
        assert "/swapfile none" in guest.run("cat /etc/fstab")
        guest.commit()
    world.judge()


@pytest.mark.parametrize("init", ["rc.local", pytest.param("openrc", marks=_SLOW)])
def test_where_the_kernel_keeps_the_old_table_the_run_goes_on_by_itself_after_a_restart(
    tmp_path: Path, init: str
) -> None:
    """Busybox alone: its partprobe cannot reread a disk in use.

    What lies in /etc/local.d runs as with OpenRC.
    """
    openrc = (directory("etc/local.d"), text("sbin/rc-update", "#!/bin/sh\nexit 0\n", 0o755))
    world = make_world(tmp_path, EXT, extra=openrc if init == "openrc" else ())
    with world.booted() as guest:
        assert guest.phase(Phase.INSPECT, RUN).facts.init in (init, "unknown")
        guest.run("printf '#!/bin/sh\\necho mine\\n' >/etc/rc.local; chmod 755 /etc/rc.local")
        answer = guest.drive(Phase.REREAD, RUN)
        assert (answer.result, answer.facts.arranged) == (ScriptOutcome.REBOOT, True)
        guest.run("sync")
        guest.cut_power()
    with world.booted(keep_size=True) as guest:
        guest.wait_until(f"[ -e /var/lib/growdisk/{RUN}/finished ]")
        guest.wait_until("! grep -q growdisk /etc/rc.local && ! ps | grep -q '[g]rowdisk-run'")
        assert guest.run("cat /etc/rc.local") == "#!/bin/sh\necho mine\n"
        assert guest.run("ls /etc/local.d 2>/dev/null || :") == ""
        assert guest.phase(Phase.VERIFY, RUN).result is ScriptOutcome.DONE
        guest.commit()
    world.judge()


@_SLOW
def test_a_root_without_a_byte_left_grows_and_leaves_no_half_file_behind(tmp_path: Path) -> None:
    world = make_world(tmp_path, (*UTIL_LINUX, *EXT), swap="file")
    with world.booted() as guest:
        guest.run(
            "dd if=/dev/zero of=/fill bs=64k 2>/dev/null; dd if=/dev/zero of=/fill2 bs=512 "
            "2>/dev/null; sync"
        )
        assert guest.run("df -k / | awk 'END { print $4 }'").strip() == "0"
        assert guest.drive(Phase.VERIFY, RUN).result is ScriptOutcome.DONE
        assert guest.run("find / -xdev -name '*growdisk-new*' -o -xdev -name '*.growdisk'") == ""
        assert guest.run(f"ls /run/growdisk/{RUN}/swap-5.on").strip()
        guest.commit()
    world.judge()


@pytest.mark.parametrize("place", ["/boot", "/etc"])
def test_files_on_a_read_only_mount_are_noticed_before_anything_is_done(
    tmp_path: Path, place: str
) -> None:
    world = make_world(tmp_path, (*UTIL_LINUX, *EXT))
    with world.booted() as guest:
        guest.run(f"mount --bind {place} {place}; mount -o bind,remount,ro {place}")
        refused = guest.phase(Phase.PREPARE, RUN)
        assert refused.result is ScriptOutcome.REFUSED and f"remount,rw {place}" in refused.do
        guest.run(f"mount -o bind,remount,rw {place}")
        stamps = f"stat -c '%n %Y %s' /etc/* {place}/*"
        before = guest.run(stamps)
        assert guest.phase(Phase.PREPARE, RUN).result is ScriptOutcome.DONE
        assert guest.run(stamps) == before
