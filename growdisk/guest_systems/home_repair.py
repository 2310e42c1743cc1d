"""What a guest's homes need so that nothing waits for what is gone: decided by reading.

Deciding needs no mount: a plan knows every change beforehand, and a backend only has to write.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b

from growdisk.fast_dataclass import dataclass, field
from growdisk.filesystems.file_tree import FileTree, more_blocks
from growdisk.guest_config import places
from growdisk.guest_config.files import (
    LARGEST_SETTINGS,
    Change,
    Pending,
    found,
    is_said,
    settings,
    unmended,
)
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import has_plain_initrds, known_in, repair_guest
from growdisk.guest_systems.file_rewriter import DirectGuest
from growdisk.guest_systems.look import Home, Look
from growdisk.guest_systems.search import search_first

# What editors, package managers, libblkid, mount and LVM keep, and nothing reads at a start.
_COPY = (
    r".*(?:~|-|\.\d+|\.(?:bak|backup|old|orig|sav|saved?|dist|swp|pacnew|pacsave|apk-new|rpmnew|"
    r"rpmsave|rpmorig|augnew|augsave|dpkg-\w+|ucf-\w+)(?:[._-].*)?|/blkid\.tab.*|/mtab|"
    r"/lvm/(?:archive|backup)/.*)"
)

Decisions = Sequence[tuple[RemovedPartition, SwapRemedy]]


@dataclass(frozen=True)
class HomeRepair:
    """A home's repair: `changes` are those of `pending`, and what cannot be changed.

    `parts` are what is gone, by all its names.
    """

    home: Home
    parts: tuple[RemovedPartition, ...]
    changes: tuple[Change, ...]
    pending: Pending = field(repr=False)


def obstacles(look: Look, repairs: Sequence[HomeRepair]) -> list[str]:
    """Why what is gone might still be waited for after the repair: each place, and why."""
    return list(dict.fromkeys(_obstacles(look, repairs)))


def repairs_of(
    look: Look, system: str, decisions: Decisions, growing: Collection[str] = ()
) -> list[HomeRepair]:
    """What is to be done in each home.

    The system on device `system` has the swap file, if a decision says that there is one. Devices
    that are `growing` have yet to become larger, and then have room. Unknown if a file cannot be
    read.
    """
    # A /boot by itself does not tell who makes its initrds. Its systems do, if they all agree.
    plain = {id(home): has_plain_initrds(DirectGuest(home.paths, None)) for home in look.systems}
    all_plain = bool(plain) and all(plain.values())
    known = {
        id(home): [(_known_to(home, look, part), policy) for part, policy in decisions]
        for home in look.homes
    }
    # The swap file lies in one system; in all others the swap is simply gone.
    for home in look.homes:
        if home is not look.system_on(system):
            known[id(home)] = [(part, SwapRemedy.DROP) for part, _ in known[id(home)]]
    repairs = [
        _repair(h, known[id(h)], plain.get(id(h), all_plain), h.root.node in growing)
        for h in look.homes
    ]
    _write_once(repairs)
    return repairs


def _write_once(repairs: Sequence[HomeRepair]) -> None:
    """What several homes have mounted, such as one /boot, is changed by the first."""
    written = set()
    for repair in repairs:
        pending = repair.pending
        for path in pending.paths:
            place = repair.home.paths.find(path)
            change = (place, pending.contents.get(path), pending.prefixes.get(path))
            if change in written:
                pending.forget(path)
            written.add(change)


def _known_to(home: Home, look: Look, part: RemovedPartition) -> RemovedPartition:
    """The partition with the names that other homes give it (in crypttab, in boot options)."""
    for other in look.homes:
        if other.rooted != home.rooted:
            part = known_in(DirectGuest(other.paths, None), part)
    return known_in(DirectGuest(home.paths, None), part)


def _repair(home: Home, decisions: Decisions, plain: bool, grows: bool) -> HomeRepair:
    files = DirectGuest(home.paths, None)
    pending = Pending(files)
    changes: list[Change] = []
    for part, policy in decisions:
        changes += repair_guest(pending, part, policy, plain_initrds=plain)
    checksums = _checksums(files, rooted=home.rooted)
    for path in pending.paths:
        if checksums and blake2b(files.read(path)).hexdigest().encode() in checksums:
            why = "Limine has its checksum: change it in the guest (limine-update)"
        else:
            why = _why_not_written(home, pending, path, grows=grows)
        if why:
            # A note takes the place of the changes.
            pending.forget(path)
            changes = [change for change in changes if change.path != path] + [unmended(path, why)]
    parts = tuple(part for part, _ in decisions)
    known = {change.path for change in changes}
    changes += [change for change in _linked(home, parts, pending) if change.path not in known]
    return HomeRepair(home, parts, tuple(dict.fromkeys(changes)), pending)


def _linked(home: Home, parts: Sequence[RemovedPartition], pending: Pending) -> Iterator[Change]:
    """Settings that are links (of stow, of a store) to files that stay as they are."""
    paths = home.paths
    patterns = (
        *places.command_lines(rooted=home.rooted),
        *(places.OF_SYSTEM if home.rooted else ()),
    )
    written = {paths.find(path) for path in pending.paths}
    needles = [needle for part in parts for needle in part.needles()]
    for path in (link for pattern in patterns for link in paths.links(pattern)):
        place = paths.find(path)
        if place is None or not place.inode.is_file or place in written:
            continue
        if is_said(place.tree.read(place.inode, LARGEST_SETTINGS), needles):
            yield unmended(path, "it is a link, and stays: take the partition out of its target")


def _checksums(files: DirectGuest, *, rooted: bool) -> bytes:
    """All in which Limine may have one: it does not start with another file."""
    if not found(files, places.of_boots(places.LIMINE, rooted=rooted)):
        return b""
    kept = settings(files, places.of_boots(places.CHECKSUMS, rooted=rooted))
    return b"\n".join(content for _, content in kept).lower()


def _why_not_written(home: Home, pending: Pending, path: str, *, grows: bool) -> str:
    """ "" if it can be. What becomes longer has to fit, unless its root `grows` first."""
    # GRUB that checks signatures would not start with another file.
    if pending.exists(f"{path}.sig"):
        return "it has a signature (.sig): change it in the guest, and sign it"
    block = pending.prefixes.get(path, b"")
    place = home.paths.find(path)
    growing = _growing(home, pending, place.tree) if place else {}
    if (
        place is None
        or path not in growing
        or (grows and place.tree is home.paths.root.tree)
        or place.tree.has_room_for(growing.values())
    ):
        return ""
    if not block:
        return "there is no room to write it: make room, then change it in the guest"
    return (
        f"there is no room for {len(block)} bytes before it, which clear its RESUME: make "
        "room, then make it again"
    )


def _growing(home: Home, pending: Pending, tree: FileTree) -> dict[str, tuple[int, int]]:
    """Sizes of files there that take more blocks, and by how much they grow.

    They are asked about together: each alone might fit.
    """
    found = {}
    for path in pending.paths:
        place, content = home.paths.find(path), pending.contents.get(path)
        if place is not None and place.tree is tree:
            size = place.inode.size
            new = size if content is None else len(content)
            more = new + len(pending.prefixes.get(path, b"")) - size
            if tree.copies_on_write or more_blocks([(size, more)], tree.block_size) > 0:
                found[path] = size, more
    return found


def needles_of(home: Home, parts: Sequence[RemovedPartition]) -> tuple[bytes, ...]:
    """What to search the home for."""
    files = DirectGuest(home.paths, None)
    known = [known_in(files, part) if home.rooted else part for part in parts]
    return tuple(dict.fromkeys(needle for part in known for needle in part.needles()))


def _obstacles(look: Look, repairs: Sequence[HomeRepair]) -> Iterator[str]:
    if not look.systems:
        closed = "".join(f"; {n.removeprefix('/dev/')}: {why}" for n, why in look.closed.items())
        yield f"no system that can be read was found on this disk{closed}"
    for home in look.systems:
        yield from home.strange
    gone = {part.number for repair in repairs for part in repair.parts}
    for node, names in look.closed_names.items() if look.systems else ():
        opened = (search_first(home, names.needles()) for home in look.systems)
        if names.number not in gone and not any(path for found in opened for path in found):
            device = node.removeprefix("/dev/")
            yield f"{device} may hold another system, and cannot be searched: {look.closed[node]}"
    for repair in repairs:
        yield from (f"{change.path}: {change.what}" for change in repair.changes if change.waits)
    yield from _of_unknown_meaning(repairs)


def _of_unknown_meaning(repairs: Sequence[HomeRepair]) -> Iterator[str]:
    """Other files that name it. The search after the repair finds more: what is packed."""
    known = {
        repair.home.paths.find(path)
        for repair in repairs
        for path in (*repair.pending.paths, *(change.path for change in repair.changes))
    }
    for repair in (repair for repair in repairs if repair.home.rooted):
        home, needles = repair.home, [each for part in repair.parts for each in part.needles()]
        for path in search_first(home, tuple(dict.fromkeys(needles))):
            if not re.fullmatch(_COPY, path) and home.paths.find(path) not in known:
                yield f"{path}: names it, and growdisk does not know what it is for"
