"""What is asked for of swap is refused beforehand where the guest's root cannot have it."""

from __future__ import annotations

import pytest

from growdisk.errors import Refused
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import LuksContent, SwapContent
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.partitions.table import Partition
from growdisk.planner.giving_up import _identities, as_guest_allows
from growdisk.planner.goal import Goal
from growdisk.planner.guest_plan import _swap
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GuestSeen, Proposal
from growdisk.steps.guest_steps import MakeSwapFile, RepairGuest
from growdisk.units import GiB, MiB
from tests.unit.planner.volume_facts import EXT, facts

ROOT = "/dev/sda1"


@pytest.mark.parametrize(
    ("seen", "words"),
    [(GuestSeen(), "no guest's system"),
        (GuestSeen((ROOT,), no_swap_file={ROOT: "is read-only"}), "the root in sda1 is read-only"),
     (GuestSeen((ROOT, "/dev/sda2"), no_swap_file={"/dev/sda2": "is read-only"}), "")],
)  # fmt: skip
def test_a_swap_file_needs_a_root_that_can_have_it(seen: GuestSeen, words: str) -> None:
    proposal = Proposal((MakeSwapFile(ROOT, MiB, "uuid"),), facts(EXT))
    if not words:
        assert as_guest_allows(propose, facts(EXT), Goal(swap="file"), proposal, seen, seen)
        return
    with pytest.raises(Refused, match=words):
        as_guest_allows(propose, facts(EXT), Goal(swap="file"), proposal, seen, seen)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ((), "sda2 is given up, and the next boot may wait for it: an initrd"),
        ((RemovedPartition(5),), "sda2 and sda5 are given up, and the next boot may wait for them"),
    ],
)
def test_what_the_next_boot_may_wait_for_is_named(
    gone: tuple[RemovedPartition, ...], words: str
) -> None:
    step = RepairGuest(ROOT, (RemovedPartition(2),), SwapRemedy.DROP, gone)
    proposal, seen = Proposal((step,), facts(EXT)), GuestSeen((ROOT,), obstacles=("an initrd",))
    told = as_guest_allows(propose, facts(EXT), Goal(swap="drop"), proposal, seen, seen)
    assert isinstance(told, Proposal) and words in told.notes[0]


@pytest.mark.parametrize(
    ("named", "register", "is_told"),
    [
        ("/boot/grub/grub.cfg", 8, True),
        ("/EFI/Linux/a.efi", 11, True),
        ("/boot/grub/grub.cfg", 7, False),
        ("/etc/fstab", 8, False),
    ],
)
def test_a_container_that_a_tpm_opens_by_what_boots_is_told(
    named: str, register: int, is_told: bool
) -> None:
    sealed = facts(LuksContent("crypto_LUKS", registers=frozenset({register})))
    step = RepairGuest(ROOT, (RemovedPartition(2),), SwapRemedy.DROP)
    proposal = Proposal((step,), sealed)
    seen = GuestSeen((ROOT,), named=(named,))
    told = as_guest_allows(propose, sealed, Goal(), proposal, seen, seen)
    assert isinstance(told, Proposal)
    assert any(f"PCR {register}, and" in note for note in told.notes) == is_told


def test_snapshots_that_still_name_the_swap_are_told() -> None:
    step = RepairGuest(ROOT, (RemovedPartition(2),), SwapRemedy.DROP)
    names = tuple(f"@/.snapshots/{number}/snapshot" for number in range(9))
    told = as_guest_allows(
        propose,
        facts(EXT),
        Goal(),
        Proposal((step,), facts(EXT)),
        GuestSeen((ROOT,), snapshots=names),
        GuestSeen(),
    )
    assert isinstance(told, Proposal)
    assert "@/.snapshots/5/snapshot and 3 more" in told.notes[0]
    assert "--swap move keeps it" in told.notes[0]


@pytest.mark.parametrize(
    ("other", "uuid", "names"),
    [
        ("swap", "1", ("2", None, None)),
        ("x", "1", ("2", "swap", "swap")),
        ("x", "2", (None, "swap", "swap")),
    ],
)
def test_what_a_partition_that_stays_is_called_as_well_is_no_name(
    other: str, uuid: str, names: tuple[str | None, str | None, str | None]
) -> None:
    known, own = facts(EXT), "swap"
    swaps = {2: (33 * MiB, "2", own), 1: (MiB, uuid, other)}
    parts = (
        Partition(3, 65 * MiB, 2 * GiB),
        *(Partition(n, at, 32 * MiB, name=label) for n, (at, _, label) in swaps.items()),
    )
    assert known.table is not None
    table = replace(known.table, kind="gpt", partitions=parts)
    contents = {n: SwapContent("swap", uuid, label) for n, (_, uuid, label) in swaps.items()}
    known = replace(known, table=table, contents={3: EXT, **contents})
    (identity,) = _identities(known, parts[1], [parts[1]])
    assert (identity.uuid, identity.label, identity.partlabel) == names
    # In a running guest as well.
    in_script = _swap(known, table, 2, "drop", identity)
    assert (in_script.uuid, in_script.label, in_script.partlabel) == tuple(n or "" for n in names)
