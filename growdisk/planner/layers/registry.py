"""Who grows which content. What is not here can still be asked for by number: then the partition alone grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from growdisk.filesystems.content import Content, ExtContent
from growdisk.planner.layers.ext import grow_ext
from growdisk.planner.layers.inside import Inside, Room

LAYERS: Mapping[type[Content], Callable[[Room], Inside]] = MappingProxyType({ExtContent: grow_ext})


def grow_inside(room: Room) -> Inside:
    """What is to do inside `room.partition`. Raises Refused errors, which name the image."""
    content = room.facts.contents.get(room.partition.number)
    grow = LAYERS.get(type(content)) if content is not None else None
    if grow is None:
        what = room.facts.kind_of(room.partition.number)
        name = room.facts.name_of(room.partition.number)
        note = f"{name} holds {what}, which growdisk does not grow: the partition alone is larger"
        return Inside((), content, lags=False, system="", notes=(note,))
    return grow(room)
