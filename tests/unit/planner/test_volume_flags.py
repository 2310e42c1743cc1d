"""What LVM respects and a plan must: flags, policies and owners in a group's metadata."""

from __future__ import annotations

from dataclasses import replace

import pytest

from growdisk.errors import Refused
from growdisk.filesystems.content import ExtContent, PhysicalVolumeContent
from growdisk.filesystems.volume_group import LogicalVolume, LvSegment, PhysicalVolume, VolumeGroup
from growdisk.partitions.shares import Percent, Rest
from growdisk.partitions.table import Partition
from growdisk.planner.goal import Goal, Grow
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.steps.grow_layers import GrowLogicalVolume
from growdisk.units import GiB, MiB, parse_size
from tests.unit.planner.volume_facts import EXT, EXTENT, facts

_ALL = ("READ", "WRITE", "VISIBLE")
_EXTENTS = 700


def group(**changes: object) -> VolumeGroup:
    """root in extents 0 to 511, home in 512 to 599, and 100 free ones."""
    own = PhysicalVolume("pv0", "PV", _EXTENTS * EXTENT + MiB, MiB, _EXTENTS, ("ALLOCATABLE",))
    root = LogicalVolume("root", "ROOT", True, (LvSegment(0, 512, "striped", (("pv0", 0),)),), _ALL)
    home = LogicalVolume(
        "home", "HOME", True, (LvSegment(0, 88, "striped", (("pv0", 512),)),), _ALL
    )
    plain = VolumeGroup(
        "vg0", "GROUP", 1, EXTENT, ("RESIZEABLE", "READ", "WRITE"), (own,), (root, home), "pv0"
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def with_volume(number: int = 0, **changes: object) -> VolumeGroup:
    volumes = list(group().logical_volumes)
    volumes[number] = replace(volumes[number], **changes)  # type: ignore[arg-type]
    return group(logical_volumes=tuple(volumes))


def proposal(of: VolumeGroup, *, lv: str = "", goal: Goal | None = None) -> Proposal:
    home: ExtContent = replace(EXT, size=GiB // 4, uuid="home")
    content = PhysicalVolumeContent(
        "LVM2_member",
        "PV",
        size=of.end_of_extents,
        group=of,
        volumes=(("root", EXT), ("home", home)),
    )
    goal = goal or Goal(parse_size("+1G"), lv=(Grow(lv, Rest()),) if lv else ())
    found = propose(facts(content), goal)
    assert isinstance(found, Proposal)
    return found


def refusal(of: VolumeGroup, *, lv: str = "") -> str:
    with pytest.raises(Refused) as caught:
        proposal(of, lv=lv)
    return f"{caught.value.why} / {caught.value.what_to_do}"


def grown(of: VolumeGroup, *, lv: str = "") -> tuple[str, int]:
    (step,) = [step for step in proposal(of, lv=lv).steps if isinstance(step, GrowLogicalVolume)]
    return step.volume, step.extents


def test_without_any_flag_the_largest_takes_all() -> None:
    volume, extents = grown(group())
    assert volume == "root"
    assert extents > 512 + 100 + 240


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"status": ("RESIZEABLE", "READ", "WRITE", "EXPORTED")}, "vgimport vg0"),
        ({"status": ("READ", "WRITE")}, "not resizable"),
        ({"status": ("RESIZEABLE", "READ")}, "read-only"),
        ({"status": ("RESIZEABLE", "READ", "WRITE", "CLUSTERED")}, "shared with other machines"),
        ({"lock_type": "sanlock"}, "shared with other machines"),
    ],
)
def test_a_group_that_lvm_does_not_let_grow_is_refused_with_what_to_do(
    changes: dict[str, object], word: str
) -> None:
    assert word in refusal(group(**changes))


@pytest.mark.parametrize(
    ("flags", "word"), [((), "allocatable"), (("ALLOCATABLE", "MISSING"), "restoremissing")]
)
def test_a_physical_volume_with_a_flag_in_the_way_is_refused(
    flags: tuple[str, ...], word: str
) -> None:
    own = replace(group().own_volume, flags=flags)
    assert word in refusal(group(physical_volumes=(own,)))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"flags": ("READ", "VISIBLE")}, "read-only"),
        ({"flags": (*_ALL, "LOCKED")}, "pvmove"),
        ({"flags": (*_ALL, "FIXED_MINOR")}, "lvchange --persistent n vg0/root"),
        ({"segments": (LvSegment(0, 512, "striped", (("pvmove0", 0),)),)}, "pvmove"),
        ({"segments": (LvSegment(0, 512, "writecache", ()),)}, "writecache"),
        (
            {
                "segments": (
                    LvSegment(0, 512, "raid1", (("root_rimage_0", 0), ("root_rimage_1", 0))),
                )
            },
            "raid1",
        ),
        ({"segments": (LvSegment(0, 512, "integrity", ()),)}, "integrity"),
        ({"allocation": "contiguous"}, "contiguous"),
    ],
)
def test_a_volume_that_cannot_grow_is_refused_if_it_is_named_and_said_to_stay_if_not(
    changes: dict[str, object], word: str
) -> None:
    assert word in refusal(with_volume(**changes), lv="vg0/root")
    found = proposal(with_volume(**changes))
    assert [step.volume for step in found.steps if isinstance(step, GrowLogicalVolume)] == ["home"]
    assert any("vg0/root is larger and stays" in note and word in note for note in found.notes)


def test_a_contiguous_volume_takes_what_lies_right_behind_it_alone() -> None:
    """home ends where the free extents begin; of free ones elsewhere it cannot have any."""
    volume, extents = grown(with_volume(1, allocation="contiguous"), lv="home")
    assert (volume, extents) == ("home", 88 + grown(group())[1] - 512)


def test_a_policy_of_the_group_holds_for_a_volume_that_inherits_it() -> None:
    assert "contiguous" in refusal(group(allocation="contiguous"), lv="root")


def test_a_group_of_another_system_and_volumes_to_be_skipped_grow_like_any_other() -> None:
    assert grown(group(system_id="somewhere-else")) == grown(group())
    assert grown(with_volume(flags=(*_ALL, "ACTIVATION_SKIP"))) == grown(group())


def test_a_physical_volume_that_was_cut_off_is_refused() -> None:
    own = replace(group().own_volume, pe_count=100_000)
    assert "cut off" in refusal(group(physical_volumes=(own,)))


# --- what the group had free ----------------------------------------------------------------------


def test_free_space_of_the_group_that_is_taken_is_said() -> None:
    assert any(
        "free in the volume group vg0 are taken too" in note for note in proposal(group()).notes
    )


def test_a_group_without_free_space_has_nothing_to_say_of_it() -> None:
    own = replace(group().physical_volumes[0], pe_count=600)
    assert not any(
        "are taken too" in note for note in proposal(group(physical_volumes=(own,))).notes
    )


def test_a_common_share_is_refused_if_each_volume_has_its_own() -> None:
    own = Grow("root", Percent(60))
    with pytest.raises(Refused) as caught:
        proposal(group(), goal=Goal(parse_size("+1G"), lv=(own,), lv_share=50.0))
    assert "without a share of their own" in caught.value.why
    both = Goal(parse_size("+1G"), lv=(own, Grow("home", Rest())), lv_share=30.0)
    steps = [s for s in proposal(group(), goal=both).steps if isinstance(s, GrowLogicalVolume)]
    assert {step.volume for step in steps} == {"root", "home"}


def test_a_volume_beside_what_grows_is_refused() -> None:
    """The largest partition grew instead, and --lv was of no effect."""
    seen = facts(PhysicalVolumeContent("LVM2_member", "PV", group=group()))
    assert seen.table is not None
    first = replace(seen.table.partitions[0], end=GiB)
    table = replace(seen.table, partitions=(first, Partition(2, GiB, 3 * GiB, type_code="83")))
    beside = replace(seen, table=table, contents={**seen.contents, 2: EXT})
    with pytest.raises(Refused) as caught:
        propose(beside, Goal(parse_size("+1G"), lv=(Grow("home", Rest()),)))
    assert caught.value.why == "what grows is sda2, which has no LVM"
