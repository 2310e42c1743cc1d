"""An EFI system partition is searched wherever the guest mounts it, and knows what its system knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.guest_systems.homes import ESP, FSTAB, UUID, disk, repairs, written

ENTRY, UNIFIED = "/loader/entries/a.conf", "/EFI/Linux/x.conf"


@pytest.mark.parametrize("place", ["/efi", "/boot/efi", "/esp", "/efi2", "/boot/EFI", "/boot/esp", "/mnt/esp"])
def test_an_efi_partition_is_searched_wherever_it_is_mounted(tmp_path: Path, place: str) -> None:
    root = {"/etc/fstab": f"{FSTAB}UUID={ESP} {place} vfat defaults 0 2\n", f"{place}/.keep": ""}
    image = disk(tmp_path, root, {ENTRY: f"options root=x resume=UUID={UUID} quiet\n"})
    with repairs(image) as found:
        (text,) = written(found).values()
    assert text == "options root=x quiet\n"
