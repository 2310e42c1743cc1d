"""What to do about an initrd that names what is gone: nothing, a block before it, or a note."""

from __future__ import annotations

from typing import NamedTuple

from growdisk.guest_config import initrd
from growdisk.guest_config.files import GuestFiles
from growdisk.guest_config.initrd_content import Contents, Maker
from growdisk.guest_config.removed_partition import RemovedPartition

_DRACUT = ("/usr/lib/dracut", "/usr/bin/dracut", "/usr/sbin/dracut")
REMEDIES = {
    Maker.DRACUT: "dracut -f --regenerate-all",
    Maker.MKINITCPIO: "mkinitcpio -P",
    Maker.INITRAMFS_TOOLS: "update-initramfs -u -k all",
    Maker.UNKNOWN: "the tool that made it",
}
OPENED = "cryptroot/"  # what initramfs-tools opens before the root is there
# Read by dracut as if it stood on the kernel's command line: noresume speaks for it.
_COMMAND_LINES = ("etc/cmdline.d/", "etc/cmdline")


class InitrdVerdict(NamedTuple):
    """`block` to put before it, empty if that does not help."""

    what: str
    block: bytes = b""


def verdict_of(
    contents: Contents, swap: RemovedPartition, files: GuestFiles
) -> InitrdVerdict | None:
    """None if nothing in it names the partition."""
    maker = contents.maker
    if contents.unread:
        # What could be read may not show who made it: the guest's own tools tell.
        maker = Maker.DRACUT if any(map(files.exists, _DRACUT)) else maker
        return InitrdVerdict(
            f"made by {maker.value}, and not readable here ({contents.unread}): run "
            f"{REMEDIES[maker]}"
        )
    naming = contents.naming(swap.needles())
    if not naming:
        return None
    # What is in cryptroot/ is opened whatever RESUME says: only a new initrd helps there.
    if maker is Maker.INITRAMFS_TOOLS and not any(name.startswith(OPENED) for name in naming):
        return InitrdVerdict("stale RESUME inside cleared", initrd.forgetting_block(swap))
    if maker is Maker.DRACUT and all(name.startswith(_COMMAND_LINES) for name in naming):
        return InitrdVerdict(
            "made by dracut: noresume put before its resume=", initrd.noresume_block(swap)
        )
    first = next((name for name in naming if name.startswith(OPENED)), naming[0])
    return InitrdVerdict(
        f"made by {maker.value}, and {first} in it names the partition: run {REMEDIES[maker]}"
    )
