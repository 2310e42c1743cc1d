"""An encrypted container: it reaches to the end of its device by itself, once it is opened; then what is in it."""

from __future__ import annotations

from collections.abc import Callable

from growdisk.errors import KeyNeeded
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import LuksContent
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget
from growdisk.planner.layers.file_systems import cannot_grow
from growdisk.steps.grow_luks import GrowLuks
from growdisk.units import align_down

_INSIDE = "grow it from inside the guest"


def grow_luks(room: GrowthTarget, grow: Callable[[GrowthTarget], ContentGrowth]) -> ContentGrowth:
    content = room.content
    assert isinstance(content, LuksContent), content
    if content.fixed:
        raise cannot_grow(room, f"it is encrypted (LUKS), and {content.fixed}", content.cure or _INSIDE)
    if content.payload >= room.size:
        raise cannot_grow(room, "its header says that its encrypted data begin beyond its end", _INSIDE)
    if not content.unlocked:
        return _locked(room, content)
    place = room.place.within_luks(content.uuid)
    size = align_down(room.size - content.payload, content.sector_size)
    if size != room.size - content.payload:
        raise cannot_grow(
            room, f"it has sectors of {content.sector_size} bytes, and cryptsetup opens it only where it is a multiple "
            "of them long", "choose a size in whole MiB",
        )  # fmt: skip
    inside = grow(room.within(place, content.inside, size))
    old = content.size or size
    step = GrowLuks(place, old, size, room.suffix)
    return replace(
        inside, steps=(step, *inside.steps), content=replace(content, size=size, inside=inside.content),
        lags=inside.lags,
    )  # fmt: skip


def _locked(room: GrowthTarget, content: LuksContent) -> ContentGrowth:
    name = room.place.name
    if room.is_named and not content.tried:
        note = (
            f"{name} is encrypted, and no key was given: the partition alone is larger. The container takes that when "
            "it is opened next; what is in it has to be grown from inside the guest"
        )
        return ContentGrowth((), content, lags=False, system="", notes=(note,))
    reason = (
        "no passphrase that was given opens it" if content.tried else "what is in it grows with its passphrase only"
    )
    raise KeyNeeded(
        room.facts.image.path,
        reason=f"{name} is encrypted (LUKS), and {reason}; --partition {name} without a key grows the partition alone",
    )
