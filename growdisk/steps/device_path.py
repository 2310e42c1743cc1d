"""Where something stands: in a partition, or further in, through containers and logical volumes.

    DevicePath(5, ..., ("luks:cff1…", "lv:vg0/root"))
    sda5 → what LUKS encrypts in it → the volume root of vg0

What stands there is opened by place_at_rest.py, or live_place.py.
"""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass, replace
from growdisk.partitions.table import FIRST_DISK


@dataclass(frozen=True)
class DevicePath:
    """A place: partition `number` (0: the whole disk), bytes [start, start+size) of the disk.

    `layers` are those inside it, from the outermost in, as plans have them; `chain` is what they
    mean.
    """

    number: int
    start: int
    size: int
    layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.name_on(FIRST_DISK)

    def name_on(self, disk: str) -> str:
        """For people, on the guest's disk of that name: sda5, vg0/root, LUKS in sda5."""
        match self.innermost:
            case None:
                return f"{disk}{self.number or ''}"
            case LvLayer(name=name):
                return name
            case LuksLayer():
                return f"LUKS in {self.outer.name_on(disk)}"

    @property
    def device(self) -> str:
        """As the appliance has it."""
        return self.innermost.device if self.innermost else f"/dev/{FIRST_DISK}{self.number or ''}"

    @property
    def chain(self) -> tuple[Layer, ...]:
        return tuple(map(layer_of, self.layers))

    @property
    def openers(self) -> tuple[str, ...]:
        """The programs that open it, from the outermost layer in."""
        return tuple(layer.opener for layer in self.chain)

    @property
    def innermost(self) -> Layer | None:
        """None: what is meant stands in the partition itself."""
        return layer_of(self.layers[-1]) if self.layers else None

    @property
    def outer(self) -> DevicePath:
        return replace(self, layers=self.layers[:-1])

    def within_luks(self, uuid: str) -> DevicePath:
        return replace(self, layers=(*self.layers, str(LuksLayer(uuid))))

    def within_volume(self, group: str, volume: str) -> DevicePath:
        return replace(self, layers=(*self.layers, str(LvLayer(group, volume))))


# Written plans hold a layer as text, `luks:UUID` or `lv:GROUP/VOLUME`, taken apart here alone.

_LUKS, _VOLUME = "luks:", "lv:"


@dataclass(frozen=True)
class LuksLayer:
    uuid: str

    opener: ClassVar[str] = "cryptsetup"

    def __str__(self) -> str:
        return _LUKS + self.uuid

    @property
    def mapping(self) -> str:
        """Its name below /dev/mapper in the appliance."""
        return f"growdisk-{self.uuid}"

    @property
    def device(self) -> str:
        """As the appliance has it."""
        return f"/dev/mapper/{self.mapping}"


@dataclass(frozen=True)
class LvLayer:
    group: str
    volume: str

    opener: ClassVar[str] = "lvm"

    def __str__(self) -> str:
        return f"{_VOLUME}{self.name}"

    @property
    def name(self) -> str:
        return f"{self.group}/{self.volume}"

    @property
    def device(self) -> str:
        """As the appliance has it."""
        return f"/dev/{self.name}"


Layer = LuksLayer | LvLayer


def opener_of(node: str) -> str:
    """The program that opens a device of the appliance; "" for a disk or a partition."""
    if node.count("/") < 3:  # /dev/sda1
        return ""
    return LuksLayer.opener if node.startswith("/dev/mapper/") else LvLayer.opener


def layer_of(text: str) -> Layer:
    """The layer that a plan has written as `text`."""
    if text.startswith(_LUKS):
        return LuksLayer(text.removeprefix(_LUKS))
    group, _, volume = text.removeprefix(_VOLUME).partition("/")
    return LvLayer(group, volume)
