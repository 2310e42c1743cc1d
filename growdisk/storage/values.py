"""What is known of the storage below a block device, as a value that a plan can hold."""

from __future__ import annotations

from typing import Literal

from growdisk.fast_dataclass import dataclass

Kind = Literal["lvm", "zvol", "rbd", "loop", "other"]


@dataclass(frozen=True)
class Storage:
    """`name` is what its own tools call it: vg0/web01, rpool/vm-1, pool/image, /srv/web01.raw.

    Sizes are multiples of `unit` bytes. `room`: by how many it can grow at `place`, None if
    unlimited. `obstacle`: why growdisk cannot, with a `hint` at what can; both "" if it can.
    """

    kind: Kind
    name: str
    unit: int = 512
    room: int | None = None
    place: str = ""
    obstacle: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()


def unmanaged(obstacle: str, hint: str) -> Storage:
    """What growdisk cannot make larger."""
    return Storage("other", "", obstacle=obstacle, hint=hint)
