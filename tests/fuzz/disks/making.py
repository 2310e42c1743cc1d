"""A recipe becomes a raw disk: host tools make the table, a kernel what needs one, and files."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.disks.kernel import Kernel, NotMade, kernel_on, quoted
from tests.fuzz.disks.recipe import KEY, Recipe, Slot, Thing
from tests.guests.tools import place_content

_SECTOR = 512
MOUNTABLE = {"ext": "ext4", "xfs": "xfs", "btrfs": "btrfs", "f2fs": "f2fs", "fat": "vfat"}
_LVM = "lvm {} 2>/dev/null </dev/null"
_FILL = (
    "mkdir -p /tmp/m; mount -t {kind} {options} {device} /tmp/m || exit 99\n"
    "cd /tmp/m && seq 4000 >numbers && mkdir -p etc a/b && echo '# none' >etc/fstab && head -c "
    "70000 /dev/zero >a/zeros"
    " && ln numbers a/b/again 2>/dev/null\n: ; cd /; umount /tmp/m"
)
_LEAVE = (
    "mkdir -p /tmp/n{number}; mount -t {kind} {device} /tmp/n{number} && cd /tmp/n{number} && seq "
    "9000 >more && sync\n"
    "dd if=numbers of=last conv=fsync; dd if=numbers of=more conv=fsync,notrunc seek=3; mv last a"
)
_LIST = (
    "mkdir -p /tmp/m; mount -t {kind} -o ro{options} {device} /tmp/m || exit 99\n"
    "cd /tmp/m && find . -type f | sort | xargs -r md5sum | md5sum; cd /; umount /tmp/m"
)


@dataclass(frozen=True)
class Found:
    """A file system on the disk: its device in a kernel, its files ("" if no kernel mounts it)."""

    device: str
    kind: str
    files: str
    parent: int


def make(raw: Path, recipe: Recipe) -> list[Found]:
    """The disk; NotMade where the tools do not make such a thing."""
    with raw.open("wb") as file:
        file.truncate(recipe.size + recipe.odd)
        if recipe.boot_code and recipe.label:
            file.write(b"\xeb\x63\x90" + random.Random(recipe.seed).randbytes(437))
    if recipe.label:
        _host(["sfdisk", "-q", "--no-reread", "--no-tell-kernel", str(raw)], table(recipe))
    for slot in sorted(recipe.slots, key=lambda slot: slot.holds.kind != "jbd"):
        _fill_on_host(raw, recipe, slot)
    with kernel_on(raw) as kernel:
        for slot in recipe.slots:
            _make_inside(kernel, device_of(slot), slot.holds, f"vg{slot.number}")
        opened = open_all(kernel, recipe)
        for device, kind, _ in opened:
            _put_files(kernel, device, kind)
        found = look(kernel, opened)
        close_all(kernel, recipe)
        for slot in recipe.slots:
            _finish(kernel, device_of(slot), slot.holds, f"vg{slot.number}")
    return _crashed(raw, recipe) if recipe.crashed else found


def _crashed(raw: Path, recipe: Recipe) -> list[Found]:
    """The file systems of a disk whose kernel dies after a sync, as found by mounting a copy."""
    with suppress(_Crash), kernel_on(raw) as kernel:
        for number, (device, kind, _) in enumerate(open_all(kernel, recipe)):
            if driver := MOUNTABLE.get(kind):
                kernel.run(_LEAVE.format(kind=driver, device=device, number=number))
        raise _Crash
    copy = raw.with_suffix(".copy")
    _host(["cp", "--sparse=always", str(raw), str(copy)])
    with kernel_on(copy) as kernel:
        found = look(kernel, open_all(kernel, recipe))
    copy.unlink()
    return found


class _Crash(Exception):
    pass


def table(recipe: Recipe) -> str:
    lines = [f"label: {recipe.label}", "label-id: " + ("0x5ca1ab1e" if recipe.label == "dos" else
             "5E1F0C1D-0000-4000-8000-00000000D15C")]  # fmt: skip
    lines += ["first-lba: 34"] if recipe.label == "gpt" else []
    entries = [
        (s.start, f"{s.number}: start={s.start}, size={s.size}, type={s.type}{s.extra}")
        for s in recipe.slots
    ]
    if recipe.extended:
        number, start, size = recipe.extended
        entries.append(
            (
                start - 1,
                f"{number}: start={start}, size={size}, type={'5' if recipe.seed % 2 else 'f'}",
            )
        )
    return "\n".join([*lines, *(line for _, line in sorted(entries))]) + "\n"


def device_of(slot: Slot) -> str:
    return f"/dev/sda{slot.number or ''}"


def things(recipe: Recipe) -> Iterator[Thing]:
    for slot in recipe.slots:
        yield from _within(slot.holds)


def _within(thing: Thing) -> Iterator[Thing]:
    yield thing
    for inner in (thing.inside, *(volume.holds for volume in thing.volumes)):
        if inner is not None:
            yield from _within(inner)


# --- without a kernel ---------------------------------------------------------------------------


def _host(words: list[str], text: str = "") -> None:
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMade(f"{quoted(*words)}: {done.stderr or done.stdout}")


def _fill_on_host(raw: Path, recipe: Recipe, slot: Slot) -> None:
    thing, size = slot.holds, slot.size * _SECTOR
    if thing.kind == "noise":
        with raw.open("r+b") as file:
            file.seek(slot.start * _SECTOR)
            file.write(
                b"\1" + random.Random(recipe.seed + slot.number).randbytes(min(size // 2, 1 << 20))
            )
        return
    words = _mkfs(thing, size, raw, recipe)
    if not words:
        return
    alone = raw.with_suffix(".part")
    alone.unlink(missing_ok=True)
    with alone.open("wb") as file:
        file.truncate(int(size * thing.share) // 4096 * 4096 if thing.share < 1 else size)
    _host([*words, str(alone)])
    place_content(alone, raw, slot.start * _SECTOR)
    if thing.kind == "jbd":
        alone.rename(raw.with_suffix(".journal"))


def _mkfs(thing: Thing, size: int, raw: Path, recipe: Recipe) -> list[str]:
    options = list(thing.options)
    match thing.kind:
        case "ext" if "-J" in options and "device=" in options[-1]:
            return []  # by a kernel, which has both
        case "ext":
            return ["mke2fs", "-q", "-F", *options]
        case "jbd":
            return ["mke2fs", "-q", "-F", "-O", "journal_dev", *options]
        case "xfs":
            return ["mkfs.xfs", "-q", "-f", *options]
        case "btrfs":
            return ["mkfs.btrfs", "-q", "-f", *options]
        case "ntfs":
            return ["mkntfs", "-q", "-F", "-f", *_for_ntfs(options)]
        case "f2fs":
            return ["mkfs.f2fs", "-q", "-f", *options]
        case "fat":
            return ["mkfs.vfat", *options]
        case "swap":
            return ["mkswap", "-q"]
    return []


def _for_ntfs(options: list[str]) -> list[str]:
    return [*options, "-H", "16", "-S", "63", *([] if "-p" in options else ["-p", "2048"])]


# --- by a kernel --------------------------------------------------------------------------------


def _make_inside(kernel: Kernel, device: str, thing: Thing, name: str) -> None:
    """LUKS and LVM, and what is in them."""
    match thing.kind:
        case "ext" if "-J" in thing.options and "device=" in thing.options[-1]:
            number = thing.options[-1].partition("=")[2]
            kernel.must(
                quoted(
                    "mke2fs", "-q", "-F", *thing.options[:-1], f"device=/dev/sda{number}", device
                )
            )
        case "luks":
            words = (
                "cryptsetup",
                "luksFormat",
                "--batch-mode",
                "--pbkdf",
                "pbkdf2",
                "--pbkdf-force-iterations",
                "1000",
            )
            kernel.must(
                f"printf '%s' '{KEY}' >/tmp/key; "
                + quoted(*words, "--key-file", "/tmp/key", *thing.options, device)
            )
            kernel.must(f"cryptsetup open --key-file /tmp/key {device} {name}c")
            if thing.inside:
                _make_content(kernel, f"/dev/mapper/{name}c", thing.inside, f"{name}i")
        case "lvm":
            _make_group(kernel, device, thing, name)


def _make_group(kernel: Kernel, device: str, thing: Thing, name: str) -> None:
    of_volume = [
        w
        for w in _pairs(thing.options)
        if w[0] in ("--dataalignment", "--metadatacopies", "--metadatasize")
    ]
    of_group = [w for w in _pairs(thing.options) if w not in of_volume]
    of_volume = [
        ("--pvmetadatacopies" if w[0] == "--metadatacopies" else w[0], w[1]) for w in of_volume
    ]
    kernel.must(
        quoted("lvm", "pvcreate", "-q", *(word for pair in of_volume for word in pair), device)
    )
    kernel.must(
        quoted("lvm", "vgcreate", "-q", *(word for pair in of_group for word in pair), name, device)
    )
    for volume in thing.volumes:
        kernel.must(
            quoted(
                "lvm", "lvcreate", "-q", "-y", "-Wn", "-L", f"{volume.size}b", "-n", volume.name,
                name,
            )
        )  # fmt: skip
        _make_content(kernel, f"/dev/{name}/{volume.name}", volume.holds, f"{name}{volume.name[0]}")


def _pairs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


def _make_content(kernel: Kernel, device: str, thing: Thing, name: str) -> None:
    if thing.kind in ("luks", "lvm"):
        _make_inside(kernel, device, thing, name)
    elif thing.kind == "noise":
        kernel.must(f"seq 100000 | dd of={device} conv=notrunc status=none")
    elif words := _mkfs(thing, 0, Path(), Recipe(0, "", 0, (), "", (), "")):
        kernel.must(quoted(*words, device))


def open_all(kernel: Kernel, recipe: Recipe) -> list[tuple[str, str, int]]:
    """(device, kind, partition) of everything that is not a container; all are open afterwards."""
    found: list[tuple[str, str, int]] = []
    kernel.run(f"printf '%s' '{KEY}' >/tmp/key")
    for slot in recipe.slots:
        found += [
            (*pair, slot.number)
            for pair in _open(kernel, device_of(slot), slot.holds, f"vg{slot.number}")
        ]
    return found


def _open(kernel: Kernel, device: str, thing: Thing, name: str) -> list[tuple[str, str]]:
    if thing.kind == "luks":
        kernel.run(
            f"test -e /dev/mapper/{name}c || cryptsetup open --key-file /tmp/key {device} {name}c"
        )
        return (
            _open(kernel, f"/dev/mapper/{name}c", thing.inside, f"{name}i") if thing.inside else []
        )
    if thing.kind != "lvm":
        return [(device, thing.kind)]
    # After a look at the bytes: what was exported before cannot be opened otherwise.
    kernel.run(f"lvm vgimport {name}; lvm vgchange {_foreign(thing)} -ay -K {name}")
    found: list[tuple[str, str]] = []
    for volume in thing.volumes:
        found += _open(
            kernel, f"/dev/{name}/{volume.name}", volume.holds, f"{name}{volume.name[0]}"
        )
    return found


def close_all(kernel: Kernel, recipe: Recipe) -> None:
    """Again and again, for one stands in the other."""
    kernel.run(
        "for n in 1 2 3 4; do lvm vgchange -an; for c in $(ls /dev/mapper | grep '^vg.*c$'); do "
        "cryptsetup close $c; done; done >/dev/null 2>&1"
    )


def _foreign(thing: Thing) -> str:
    return (
        "--config 'global {system_id_source=lvmlocal} local {system_id=another}'"
        if "FOREIGN" in thing.last
        else ""
    )


def _finish(kernel: Kernel, device: str, thing: Thing, name: str) -> None:
    """Flags that would be in the way before; innermost first where they can be reached."""
    for volume in thing.volumes:
        if volume.flags:
            kernel.must(quoted("lvm", "lvchange", *volume.flags, f"{name}/{volume.name}"))
    for command in thing.last:
        if command == "SNAPSHOT":
            first = thing.volumes[0].name if thing.volumes else "none"
            kernel.run(
                f"lvm lvchange -ay {name}; lvm lvcreate -q -y -s -l 1 -n old {name}/{first}; lvm "
                f"vgchange -an {name}"
            )
        elif command == "FOREIGN":
            kernel.must(f"lvm vgchange -y {_foreign(thing)} --systemid another {name}")
        else:
            command = command if command.startswith(("crypt", "btrfs")) else f"lvm {command}"
            kernel.must(command.replace("DEV", device).replace("VG", name))


def _put_files(kernel: Kernel, device: str, kind: str) -> None:
    if driver := MOUNTABLE.get(kind):
        kernel.run(_FILL.format(kind=driver, device=device, options=""))


def look(kernel: Kernel, opened: list[tuple[str, str, int]]) -> list[Found]:
    return [
        Found(device, kind, _files(kernel, device, kind), number) for device, kind, number in opened
    ]


def _files(kernel: Kernel, device: str, kind: str) -> str:
    driver = MOUNTABLE.get(kind)
    if driver is None:
        return ""
    status, output = kernel.run(_LIST.format(kind=driver, device=device, options=""))
    return output.strip() if status == 0 else ""
