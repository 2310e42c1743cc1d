"""A random disk's ingredients: a table with holes and oddities, rare features, a goal. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from growdisk.units import GiB, KiB, MiB, TiB

_SECTOR = 512
KEY = "a secret"

_EXT = (
    "", "-b 1024", "-b 4096", "-b 2048 -I 128", "-b 1024 -O ^64bit,^resize_inode",
    "-b 1024 -O bigalloc -C 16384", "-b 4096 -O bigalloc", "-O sparse_super2",
    "-O meta_bg,^resize_inode -b 1024", "-O quota,project", "-O mmp", "-O inline_data,ea_inode",
    "-O encrypt,verity", "-O casefold", "-O ^flex_bg,uninit_bg,^metadata_csum -b 1024",
    "-O metadata_csum_seed,large_dir", "-O fast_commit,stable_inodes", "-b 1024 -i 1024",
    "-b 4096 -g 2048 -O ^resize_inode", "-b 1024 -N 64", "-b 65536",
    "-b 1024 -E packed_meta_blocks=1", "-b 4096 -E stride=16,stripe_width=64", "-b 1024 -G 1024",
    "-b 1024 -E resize=4000000", "-O orphan_file", "-O orphan_file -b 1024 -I 1024",
    "-O orphan_file,metadata_csum_seed,quota -b 4096",
    "-O ^extents,^has_journal,^metadata_csum,^64bit", "-b 1024 -g 1024", "-t ext2", "-t ext3",
    "-t ext3 -b 1024 -O ^dir_index", "-m 0 -J size=4 -b 4096", "-E root_owner=1000:1000 -L größer",
    "-O ^huge_file,^large_file,^extra_isize -I 128",
)  # fmt: skip
_XFS = (
    "", "-m crc=0", "-m bigtime=0", "-i sparse=0", "-d agcount=2", "-b size=1024",
    "-b size=512 -m crc=0",
    "-n size=8192", "-s size=4096", "-m reflink=0,rmapbt=0", "-m rmapbt=1,reflink=1",
    "-m finobt=0,inobtcount=0",
    "-i size=2048", "-d agcount=37", "-L lang-wie-zwölf"[:14], "-b size=65536",
)  # fmt: skip
_BTRFS = (
    "", "--mixed", "-n 4096 -s 4096", "--csum xxhash", "--csum sha256", "-m single", "-O ^no-holes",
    "-R ^free-space-tree", "-L b",
)  # fmt: skip
_NTFS = ("", "-c 512", "-c 4096", "-c 65536", "-L Daten", "-s 4096", "-p 63")
_F2FS = (
    "", "-O extra_attr,inode_checksum,sb_checksum", "-O extra_attr,compression", "-l f",
    "-O encrypt,verity", "-s 2", "-z 4", "-O extra_attr,project_quota,quota",
)  # fmt: skip
_FAT = ("-F 16", "-F 32", "", "-F 12")
_GPT_TYPES = (
    "L", "L", "S", "U", "V", "E6D6D379-F507-44C2-A23C-238F2A3DF928",
    "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    "FE3A2A5D-4F32-41A7-B725-ACCC3285A309",
)  # fmt: skip
_MBR_TYPES = ("83", "82", "7", "b", "c", "8e", "83", "da", "39", "e")
_FIXED = ("swap", "nothing", "noise", "fat")
_ATTRS = ("", "", "", "RequiredPartition", "LegacyBIOSBootable", "GUID:59", "GUID:63,60")


@dataclass(frozen=True)
class Volume:
    """A logical volume: `flags` are lvchange's options, applied at last."""

    name: str
    size: int
    holds: Thing
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thing:
    """What stands somewhere: `options` are its mkfs's.

    `inside` is what LUKS holds, `volumes` what LVM does. `share`: the part of its place that it
    fills. `last` are commands for a kernel when all else is done, with DEV and VG for its device
    and group.
    """

    kind: str
    options: tuple[str, ...] = ()
    share: float = 1.0
    inside: Thing | None = None
    volumes: tuple[Volume, ...] = ()
    last: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """A partition: in sectors."""

    number: int
    start: int
    size: int
    type: str
    holds: Thing
    extra: str = ""
    logical: bool = False


@dataclass(frozen=True)
class Recipe:
    """A random disk and what is asked of growdisk (`words`, beside the size).

    `slots` of number 0 is the whole disk, without a table; `extended` is (number, start, size)
    of what holds others. `crashed`: its file systems were in use when their kernel died.
    `ending`: what becomes of the run afterwards, "rollback" or "commit".
    """

    seed: int
    label: str
    size: int
    slots: tuple[Slot, ...]
    grown: str
    words: tuple[str, ...]
    image_format: str
    extended: tuple[int, int, int] | None = None
    odd: int = 0
    boot_code: bool = True
    crashed: bool = False
    ending: str = ""


def recipe(seed: int) -> Recipe:
    dice = random.Random(seed)
    label = dice.choices(("gpt", "dos", ""), (10, 8, 3))[0]
    if not label:
        thing = _thing(dice, depth=0, room=(size := dice.choice((8, 40, 120, 330)) * MiB))
        slots = (Slot(0, 0, size // _SECTOR, "", thing),)
        extended, end = None, size
    else:
        slots, extended, end = _slots(dice, label)
    end += dice.choice((0, 0, MiB, 7 * MiB)) + (MiB if label == "gpt" else 0)
    odd = dice.choice((0,) * 9 + (dice.randrange(1, 512),))
    image = dice.choice(("raw", "raw", "qcow2"))
    return Recipe(
        seed,
        label,
        _up(end, MiB),
        slots,
        _growth(dice),
        (*_words(dice, slots, grow="--grow" in (more := _more_words(seed, slots))), *more),
        image,
        extended,
        odd=odd if image == "raw" else 0,
        boot_code=dice.random() < 0.5,
        crashed=dice.random() < 0.15,
        ending=random.Random(-seed).choice(("rollback", "commit", "", ""))
        if "none" not in more
        else "",
    )


def _slots(
    dice: random.Random, label: str
) -> tuple[tuple[Slot, ...], tuple[int, int, int] | None, int]:
    count = dice.choice((1, 1, 2, 2, 3, 4, 5))
    step = (
        dice.choice((2048, 2048, 2048, 8, 1)) if label == "gpt" else dice.choice((2048, 2048, 63))
    )
    at, slots = max(step, 63 if label == "dos" else 34), list[Slot]()
    logical_from = dice.choice((99, 99, 1, 2, 3)) if label == "dos" else 99
    numbers = _numbers(dice, label, count)
    extended_start = 0
    for index in range(count):
        logical = label == "dos" and index + 1 > min(logical_from, 3)
        if logical and not extended_start:
            at = extended_start = _up(at, step)
        if logical:
            at += step if step > 1 else 2048
        at = _up(at, step) + dice.choice((0, 0, 0, step, 13 * step))
        thing = _thing(dice, depth=0, room=(size := dice.choice((4, 20, 48, 90, 130, 340)) * MiB))
        while index == count - 1 and thing.kind in _FIXED and dice.random() < 0.9:
            thing = _thing(dice, depth=0, room=size)
        odd = 0 if "4096" in str(thing) else dice.choice((0, 0, 0, 1, 7))
        sectors = size // _SECTOR + odd
        slots.append(_slot(dice, label, numbers[index], at, sectors, thing, logical))
        at += sectors
    _with_journal(dice, slots)
    if not extended_start:
        return tuple(slots), None, at * _SECTOR
    first = sum(not slot.logical for slot in slots) + 1
    ordered = [s if not s.logical else replace(s, number=5 + n) for s, n in _counted(slots)]
    at = _up(at, 2048)
    return tuple(ordered), (first, extended_start, at - extended_start), at * _SECTOR


def _counted(slots: list[Slot]) -> list[tuple[Slot, int]]:
    logical = 0
    found = []
    for slot in slots:
        found.append((slot, logical))
        logical += slot.logical
    return found


def _numbers(dice: random.Random, label: str, count: int) -> list[int]:
    numbers = list(range(1, count + 1))
    if label == "gpt" and dice.random() < 0.3:
        numbers = dice.sample((1, 2, 3, 4, 5, 7, 12, 14, 15, 17, 31, 100, 128), count)
    elif label == "gpt" and dice.random() < 0.3:
        dice.shuffle(numbers)
    return numbers


def _slot(
    dice: random.Random, label: str, number: int, start: int, size: int, thing: Thing, logical: bool
) -> Slot:
    if label == "dos":
        return Slot(
            number,
            start,
            size,
            dice.choice(_MBR_TYPES),
            thing,
            dice.choice(("", "", ", bootable")),
            logical,
        )
    attrs, name = dice.choice(_ATTRS), dice.choice(("", "root", "größe 数据", "a b"))
    extra = (f', attrs="{attrs}"' if attrs else "") + (f', name="{name}"' if name else "")
    return Slot(number, start, size, dice.choice(_GPT_TYPES), thing, extra)


def _with_journal(dice: random.Random, slots: list[Slot]) -> None:
    """Now and then the first partition is the journal of the last."""
    if (
        len(slots) < 2
        or dice.random() > 0.08
        or slots[0].size * _SECTOR > 100 * MiB
        or slots[-1].size < 80_000
    ):
        return
    slots[0] = replace(slots[0], holds=Thing("jbd", ("-b", "4096")))
    on = ("-t", "ext4", "-b", "4096", "-J", f"device={slots[0].number}")
    slots[-1] = replace(slots[-1], holds=Thing("ext", on))


def _thing(dice: random.Random, depth: int, room: int) -> Thing:
    kinds = ["ext"] * 14 + ["swap"] * (3 if depth == 0 else 1) + ["nothing", "noise", "fat"]
    kinds += ["ntfs", "ntfs", "f2fs"] if room >= 80 * MiB else ["ntfs"]
    kinds += ["btrfs"] * 2 if room >= 128 * MiB else []
    kinds += ["xfs"] * 3 if room >= 320 * MiB else []
    kinds += (
        (["lvm"] * 3 if room >= 48 * MiB else []) + (["luks"] * 2 if room >= 48 * MiB else [])
        if depth < 2
        else []
    )
    kind = dice.choice(kinds)
    share = (
        dice.choice((1.0, 1.0, 1.0, 1.0, 0.9, 0.5))
        if kind in ("ext", "ntfs", "f2fs") and depth == 0
        else 1.0
    )
    match kind:
        case "ext":
            words = dice.choice(_EXT).split()
            return Thing(kind, tuple(words if "-t" in words else ["-t", "ext4", *words]), share)
        case "xfs" | "btrfs" | "ntfs" | "f2fs" | "fat":
            options = {"xfs": _XFS, "btrfs": _BTRFS, "ntfs": _NTFS, "f2fs": _F2FS, "fat": _FAT}[
                kind
            ]
            last = ("btrfstune -f -S 1 DEV",) if kind == "btrfs" and dice.random() < 0.12 else ()
            return Thing(kind, tuple(dice.choice(options).split()), share, last=last)
        case "lvm":
            return _lvm(dice, depth, room)
        case "luks":
            return _luks(dice, depth, room)
    return Thing(kind)


def _luks(dice: random.Random, depth: int, room: int) -> Thing:
    options = dice.choice(
        (("--type", "luks1"), ("--type", "luks2"), ("--type", "luks2", "--sector-size", "4096"),
         ("--type", "luks2", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"))
    )  # fmt: skip
    reencrypt = "luks2" in options and dice.random() < 0.1
    last = (
        ("cryptsetup reencrypt --init-only --batch-mode --key-file /tmp/key DEV",)
        if reencrypt
        else ()
    )
    return Thing("luks", options, inside=_thing(dice, depth + 1, room - 17 * MiB), last=last)


def _lvm(dice: random.Random, depth: int, room: int) -> Thing:
    extent = dice.choice((4 * MiB, 4 * MiB, MiB, 64 * KiB, 16 * MiB))
    left = room - 6 * MiB - extent
    volumes: list[Volume] = []
    for name in dice.sample(("root", "home-x", "swap_1", "data"), dice.choice((1, 2, 2, 3))):
        size = int(left * dice.choice((0.3, 0.5, 0.9))) // extent * extent
        if size < max(extent, 4 * MiB):
            break
        flags = dice.choice(
            ((),) * 8 + (("--alloc", "contiguous"), ("--alloc", "cling"), ("-ky",), ("-pr",))
        )
        volumes.append(Volume(name, size, _thing(dice, depth + 1, size), flags))
        left -= size
    options = ["-s", f"{extent // KiB}k"]
    odd = (
        ("--dataalignment", "3m"), ("--alloc", "contiguous"), ("--metadatacopies", "2"),
        ("--metadatasize", "3m"),
    )  # fmt: skip
    options += dice.choice((*((),) * 6, *odd))
    last = dice.choice(
        ((),) * 9
        + (
            ("pvchange -x n DEV",),
            ("vgchange -x n VG",),
            ("vgexport VG",),
            ("SNAPSHOT",),
            ("FOREIGN",),
        )
    )
    return Thing("lvm", tuple(options), volumes=tuple(volumes), last=last)


def _growth(dice: random.Random) -> str:
    size = dice.choices(
        (
            dice.randrange(1, 64) * MiB,
            dice.randrange(64, 900) * MiB,
            dice.randrange(1, 20) * GiB,
            dice.randrange(30, 140) * GiB,
            dice.randrange(200, 900) * GiB,
            dice.randrange(1, 6) * TiB,
            0,
        ),
        (20, 30, 20, 10, 4, 2, 6),
    )[0]
    return f"+{size + dice.choice((0, 0, 0, _SECTOR, 7 * _SECTOR))}b" if size else ""


def _words(dice: random.Random, slots: tuple[Slot, ...], *, grow: bool) -> list[str]:
    words: list[str] = []
    if dice.random() < 0.25:
        words += ["--swap", dice.choice(("drop", "move"))]
    if slots[0].number and (len(slots) > 1 and dice.random() < 0.65):
        words += ["--partition", str(max(slots, key=lambda slot: slot.start).number)]
    elif slots[0].number and dice.random() < 0.2:
        words += ["--partition", str(dice.choice(slots).number)]
    if slots[0].number and len(slots) > 1 and "--partition" not in words and dice.random() < 0.4:
        words += [
            dice.choice(("--move", "--delete")),
            str(max(slots, key=lambda s: s.start).number),
        ]
    words = [] if grow else words  # which names what grows, and what gives way
    if dice.random() < 0.2:
        words += ["--backend", dice.choice(("uml", "direct"))]
    if dice.random() < 0.15:
        words += ["--snapshots", dice.choice(("overlay", "internal"))]
    return words


def _more_words(seed: int, slots: tuple[Slot, ...]) -> list[str]:
    """By dice of their own, and not for old seeds: test_disks.py has some."""
    dice, words = random.Random(f"{seed} more"), list[str]()
    if seed < 10**6:
        return words
    volumes = [
        f"vg{slot.number}/{volume.name}"
        for slot in slots
        if slot.holds.kind == "lvm"
        for volume in slot.holds.volumes
    ]
    if volumes and dice.random() < 0.6:
        shares = ("", "=30%", "=+20M", "=rest", "=1%")
        for volume in dice.sample(volumes, min(len(volumes), dice.choice((1, 1, 2)))):
            words += ["--lv", volume + dice.choice(shares)]
    if dice.random() < 0.1:
        words += ["--lv-share", dice.choice(("10%", "50%", "99%"))]
    if len(slots) > 1 and dice.random() < 0.3:
        shares = ("60%", "33.3%", "+5M", "+1b", "rest", "100%", "+50G")
        for slot in dice.sample(slots, 2):
            words += ["--grow", f"sda{slot.number}={dice.choice(shares)}"]
    if dice.random() < 0.1:
        words += ["--swap", "file"]
    if dice.random() < 0.1:
        words += ["--snapshots", "none"]
    return words


def _up(at: int, step: int) -> int:
    return -(-at // step) * step
