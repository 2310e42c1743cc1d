"""Renders the guest-side scripts of a plan from templates/*.sh.j2.

For the host side: `render(plan)` gives file name → text of every phase
(script_plan.Phase.file_name) and of the driver (script_plan.DRIVER). Send a phase's text to `sh -s`
as root in the guest, then `answers.parse_answer(...)` its stdout. Only what is in the plan becomes
part of a script, and every value goes through `shell_value`: no template can
forget to quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from growdisk.fast_dataclass import replace
from growdisk.guest_config import initrd, places
from growdisk.guest_config.boot_settings import (
    CONTAINERS,
    FIRST_FIELDS,
    RESUMES,
    SOURCES,
    VOLUMES,
)
from growdisk.guest_config.initrd_content import leading_names
from growdisk.guest_config.removed_partition import RemovedPartition, for_fstab, for_udev
from growdisk.guest_config.repair import INITRAMFS_TOOLS, OTHER_MAKERS
from growdisk.guest_scripts.script_plan import DRIVER, RUN_ORDER, GuestPlan, GuestSwap, Phase
from growdisk.guest_scripts.table_edits import (
    fdisk_keys,
    is_for_fdisk,
    kernel_listing,
    listing,
    parted_steps,
    sfdisk_edits,
)
from growdisk.host.templating import shell_environment
from growdisk.partitions.table import Role

_RUN = r"[A-Za-z0-9-]{1,60}"


def render(plan: GuestPlan, *, comments: bool = True) -> Mapping[str, str]:
    """All scripts of `plan` by file name: one for each phase, and the driver.

    Without `comments` for scripts that nobody reads.
    """
    assert re.fullmatch(_RUN, plan.run), plan.run  # it is the name of a folder in the guest
    environment = shell_environment(shell_value, comments=comments)
    values = _values(plan)
    names = {phase.file_name: phase.value for phase in Phase} | {DRIVER: ""}
    return {
        name: environment.get_template(f"{name}.j2").render(**values, phase=phase)
        for name, phase in names.items()
    }


def shell_value(value: object) -> str:
    """Anything as one word of a shell. What is not a number or a text has no place in a script."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"{value!r} cannot be put into a script")
    if isinstance(value, int):
        return str(value)
    # Always in quotes, unlike shlex.quote: a bare a-1 looks like bad arithmetic to shellcheck.
    return "'" + value.replace("\0", "").replace("'", "'\"'\"'") + "'"


def _values(plan: GuestPlan) -> dict[str, object]:
    # Texts and numbers go into a script as words of its shell; lists are for the templates' loops.
    return _table_values(plan) | {
        "run": plan.run,
        "serial": plan.serial,
        "driver_name": DRIVER,
        "phases": " ".join(phase.value for phase in RUN_ORDER),
        "fs_kind": plan.filesystem.kind,
        "fs_uuid": plan.filesystem.uuid,
        "fs_new_size": plan.filesystem.new_size,
        "fs_old_size": plan.filesystem.old_size,
        "room": plan.room,
        "layer_count": len(plan.layers),
        # Their UUIDs become part of a pattern: nothing but what a UUID has.
        "layers": [replace(each, uuid=re.sub(r"[\W_]", "", each.uuid)) for each in plan.layers],
        "swap_numbers": " ".join(str(swap.number) for swap in plan.swaps),
        "gone_swaps": " ".join(str(swap.number) for swap in plan.gone_swaps),
        "gone": [_gone(swap) for swap in plan.gone_swaps],
        "gone_parts": " ".join(dict.fromkeys(str(part.number) for part in plan.gone)),
        "gone_names": list(_gone_names(plan)),
        "moved_swaps": [swap for swap in plan.swaps if swap.action == "move"],
        "swap_file_size": plan.swap_file_size,
        **_places(),
        "swap_file_uuid": next((swap.uuid for swap in plan.swaps if swap.action == "file"), ""),
    }


def _places() -> dict[str, str]:
    """Where a partition may be named, from the one list (places.py), as words of a shell."""
    lists = {
        **places.NAMES,
        "settings": places.SETTINGS,
        "initrds": places.INITRDS,
        "block_lists": places.BLOCK_LISTS,
        "loader_files": (*places.LOADER_FILES, *places.GRUB_ENVIRONMENTS),
        "boots": places.BOOTS,
        "systems": ("/", *places.SYSTEMS[1:]),
        "searched": places.SEARCHED_RUNNING,
        "other_makers": OTHER_MAKERS,
        "initramfs_tools": INITRAMFS_TOOLS,
        "resumes": RESUMES,
        "openings": (*CONTAINERS, *VOLUMES, *SOURCES, *FIRST_FIELDS),
    }
    return {name: " ".join(patterns) for name, patterns in lists.items()}


def _table_values(plan: GuestPlan) -> dict[str, object]:
    before, after, unit = plan.before, plan.after, plan.before.sector_size
    old = before.by_number(plan.target)
    assert old is not None, plan.target
    leaving = [p.number for p in [*plan.removed, *plan.moved] if p.role is not Role.EXTENDED]
    return {
        # In sectors of the table, but for what is called bytes.
        "kind": "none" if plan.is_whole_disk else before.kind,
        "content_kind": plan.content_kind,
        "disk_id": before.disk_id,
        "sector_size": unit,
        "disk_sectors": after.disk_size // unit,
        "target": plan.target,
        "target_start": old.start // unit,
        "target_old_bytes": old.size,
        **_listings(plan),
        "extended": before.extended.number if before.extended else 0,
        "extended_start": before.extended.start // unit if before.extended else 0,
        "gone_numbers": " ".join(map(str, leaving)),
        "moves_gpt": "yes" if before.kind == "gpt" and plan.moved else "no",
        "fits_fdisk": "yes" if is_for_fdisk(plan) else "no",
        "sfdisk_edits": sfdisk_edits(plan),
        "parted_steps": parted_steps(plan),
        "fdisk_keys": fdisk_keys(plan, busybox=False),
        "busybox_keys": fdisk_keys(plan, busybox=True),
    }


def _listings(plan: GuestPlan) -> dict[str, str]:
    """Of a disk without a table there is nothing to list, in its kernel neither."""
    tables = {"before": plan.before, "after": plan.after}
    none = plan.is_whole_disk
    on_disk = {f"{when}_table": "" if none else listing(table) for when, table in tables.items()}
    return on_disk | {
        f"{when}_kernel": "" if none else kernel_listing(table) for when, table in tables.items()
    }


# --- the names of a swap ------------------------------------------------------------------------


_TOLD = (b"/dev/", b"dev-", b"hd0,")  # the guest's own name is looked for; GRUB's is nobody's there


def _gone_names(plan: GuestPlan) -> Iterator[dict[str, object]]:
    """For each partition that goes: its number, all its names, what to search files for."""
    swaps = map(_identity, plan.gone_swaps)
    names: dict[int, list[str]] = {}
    needles: dict[int, list[str]] = {}
    for part in (*swaps, *plan.gone):
        names.setdefault(part.number, []).extend((*_names(part), *part.mapped))
        found = [
            needle.decode("utf-8", "surrogateescape")
            for needle in part.needles()
            if not needle.startswith(_TOLD)
        ]
        # grep -i finds the other spellings of a UUID.
        found = [one for one in found if one == one.lower() or one.lower() not in found]
        needles.setdefault(part.number, []).extend(found)
    for number, known in names.items():
        own = {"names": dict.fromkeys(known), "needles": dict.fromkeys(needles[number])}
        yield {"number": number} | {key: list(words) for key, words in own.items()}


def _identity(swap: GuestSwap) -> RemovedPartition:
    return RemovedPartition(
        swap.number,
        swap.uuid or None,
        swap.label or None,
        swap.partuuid or None,
        swap.partlabel or None,
    )


def _gone(swap: GuestSwap) -> dict[str, object]:
    """A swap that goes: the block, in three pieces, that makes an initrd forget its names."""
    block = initrd.forgetting_block(_identity(swap))
    # The longest run of line breaks fills the block up: its length alone goes into the script.
    padding = max(re.findall(rb"\n+", block), key=len)
    head, _, tail = block.partition(padding)
    name = next(name for name in leading_names(block) if "growdisk" in name)
    return {
        "number": swap.number,
        "block_name": name,
        "block_head": _printf(head),
        "block_padding": len(padding),
        "block_tail": _printf(tail),
    }


def _names(part: RemovedPartition) -> Iterator[str]:
    """The partition's names as files write them, without quotes."""
    for tag, directory, _, spellings in part.tagged():
        for spelling in sorted({re.sub(r"[\"']", "", one) for one in spellings} - {""}):
            yield f"{tag}={spelling}"
            yield f"{tag}={for_fstab(spelling)}"
            yield f"{tag}={for_udev(spelling)}"
            yield f"/dev/disk/{directory}/{spelling}"
            yield f"/dev/disk/{directory}/{for_udev(spelling)}"


def _printf(data: bytes) -> str:
    """Bytes as a format of printf."""
    plain = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 =/._-")
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in data)
