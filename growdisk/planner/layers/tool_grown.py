"""NTFS and F2FS, which their own tools grow while nobody has them mounted."""

from __future__ import annotations

from growdisk.filesystems.content import F2fsContent, NtfsContent
from growdisk.filesystems.f2fs import grown_f2fs
from growdisk.filesystems.ntfs import grown_ntfs
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget
from growdisk.planner.layers.file_systems import cannot_grow, grown


def grow_ntfs(room: GrowthTarget) -> ContentGrowth:
    content = room.content
    assert isinstance(content, NtfsContent), content
    wanted = grown_ntfs(content, room.size)
    if wanted > (content.size or 0):
        _refuse_unready(room, content)
    note = f"Windows will check {room.place.name} at its next start, as it does after any resizing"
    return grown(room, content, wanted, mountable=False, notes=(note,))


def _refuse_unready(room: GrowthTarget, content: NtfsContent) -> None:
    if content.hibernated:
        raise cannot_grow(
            room, "Windows is hibernated in it, or was shut down with fast start-up, which is half of that",
            "start Windows and shut it down whole: shutdown /s /t 0",
        )  # fmt: skip
    if content.dirty:
        raise cannot_grow(
            room, "its NTFS is marked as dirty: Windows wants to check it first",
            "start Windows, let it check the volume (chkdsk /f) and shut it down",
        )  # fmt: skip


def grow_f2fs(room: GrowthTarget) -> ContentGrowth:
    content = room.content
    assert isinstance(content, F2fsContent), content
    return grown(room, content, grown_f2fs(content, room.size), mountable=False)
