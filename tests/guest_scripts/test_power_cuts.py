"""The power is cut during the scripts, again and again; the run continues after each boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.guest_scripts.answers import ScriptOutcome
from growdisk.guest_scripts.script_plan import Phase
from tests.guest_scripts.machine import Machine
from tests.guest_scripts.micro import EXT, UTIL_LINUX
from tests.guest_scripts.worlds import RUN, make_world

pytestmark = pytest.mark.boot


def _hang(guest: Machine, tool: str, action: str) -> None:
    """Make `tool` do `action` and hang from now on, unless it is only to report something."""
    guest.run("mkdir -p /usr/local/sbin")
    telling = f'case $1 in --version | -d) exec /sbin/{tool} "$@" ;; esac'
    script = f"#!/bin/sh\n{telling}\n{action}\nsync\n>/root/hangs\nsync\nsleep 1000\n"
    guest.run(
        f"cat >/usr/local/sbin/{tool} <<'SHIM'\n{script}SHIM\nchmod 755 /usr/local/sbin/{tool}; "
        "rm -f /root/hangs"
    )


def _cut_while_it_hangs(guest: Machine, tool: str) -> None:
    guest.start("sh /tmp/scripts/growdisk-run.sh")
    guest.wait_until("[ -e /root/hangs ]")
    refused = guest.phase(Phase.GROW, RUN)
    assert (refused.result, "another" in refused.what) == (ScriptOutcome.REFUSED, True)
    guest.run(f"rm /usr/local/sbin/{tool}; sync")
    guest.cut_power()


@pytest.mark.slow
def test_a_run_that_loses_power_at_every_turn_ends_as_planned(tmp_path: Path) -> None:
    world = make_world(tmp_path, (*UTIL_LINUX, *EXT), swap="move")
    with world.booted() as guest:  # all is saved, and swap is off: that alone is lost
        assert guest.phase(Phase.PREPARE, RUN).result is ScriptOutcome.DONE
        guest.cut_power()
    with world.booted(keep_size=True) as guest:  # half a table: sda5 is gone, the rest is as it was
        assert guest.phase(Phase.INSPECT, RUN).facts.table == "before"
        _hang(
            guest,
            "sfdisk",
            'disk="/dev/sda"; /sbin/sfdisk --no-reread --no-tell-kernel -f --delete "$disk" 5',
        )
        _cut_while_it_hangs(guest, "sfdisk")
    # the new table, and the kernel has forgotten sda5 alone
    with world.booted(keep_size=True) as guest:
        assert guest.phase(Phase.INSPECT, RUN).facts.table == "other"
        _hang(guest, "delpart", '/sbin/delpart "$@"')
        _cut_while_it_hangs(guest, "delpart")
    with world.booted(keep_size=True) as guest:  # before the file system has grown
        inspected = guest.phase(Phase.INSPECT, RUN).facts
        assert (inspected.table, inspected.kernel_table) == ("after", "after")
        _hang(guest, "resize2fs", "")
        _cut_while_it_hangs(guest, "resize2fs")
    with world.booted(keep_size=True) as guest:  # it has grown, and nothing is said of it
        _hang(guest, "resize2fs", '/sbin/resize2fs "$@"')
        _cut_while_it_hangs(guest, "resize2fs")
    with world.booted(keep_size=True) as guest:
        assert guest.phase(Phase.GROW, RUN).result is ScriptOutcome.ALREADY
        assert guest.drive(Phase.VERIFY, RUN).result is ScriptOutcome.DONE
        assert [swap.device for swap in guest.phase(Phase.INSPECT, RUN).facts.swaps] == [
            "/dev/sda5"
        ]
        guest.commit()
    world.judge()


def test_undo_takes_back_what_was_begun_even_after_a_power_cut(tmp_path: Path) -> None:
    world = make_world(tmp_path, (*UTIL_LINUX, *EXT), swap="drop")
    with world.booted() as guest:
        assert guest.phase(Phase.UNDO, RUN).result is ScriptOutcome.ALREADY
        for phase in (Phase.PREPARE, Phase.REWRITE, Phase.REREAD):
            assert guest.phase(phase, RUN).result is ScriptOutcome.DONE
        undone = guest.drive(Phase.UNDO, RUN, "--undo")
        assert undone.result is ScriptOutcome.DONE
        facts = guest.phase(Phase.INSPECT, RUN).facts
        assert (facts.table, facts.kernel_table) == ("before", "before")
        assert [swap.device for swap in facts.swaps] == ["/dev/sda5"]
        # nothing is prepared any more
        assert guest.phase(Phase.REWRITE, RUN).result is ScriptOutcome.REFUSED
        for phase in (Phase.PREPARE, Phase.REWRITE):
            assert guest.phase(phase, RUN).result is ScriptOutcome.DONE
        guest.cut_power()
    with world.booted(keep_size=True) as guest:  # the kernel has read the new table by itself
        assert guest.phase(Phase.REREAD, RUN).result is ScriptOutcome.ALREADY
        assert guest.phase(Phase.UNDO, RUN).result is ScriptOutcome.DONE
        assert guest.phase(Phase.INSPECT, RUN).facts.kernel_table == "before"
        guest.commit()
    world.judge_untouched()
