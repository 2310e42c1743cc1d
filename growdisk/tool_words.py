"""Tools' complaints for people who do not know the tool: a pattern, its meaning, what to do.

Anything else is quoted in the tool's own words. Only what cannot be seen beforehand, or what was
overlooked, ever comes this far: a plan looks at everything that it can read.
"""

from __future__ import annotations

import re

_NEWER = "grow it on a machine with newer tools, or from inside the guest"
_REPAIR = "repair it first, in the guest or with a rescue system ({0}), then run growdisk again"
_MEMORY = "close other programs, or let it run on a machine with more memory"
# (what is looked for in the words, what it means, what to do). The first that is found counts.
_KNOWN = (
    (
        r"extents needed, but only|nsufficient (suitable |free )",
        "LVM has no room that the volume may take",
        (
            "look at its allocation policy and at the group's free extents in the guest (lvs -o "
            "+lv_allocation_policy, pvs)"
        ),
    ),
    (
        r"Cannot access VG|foreign|system ID",
        "the volume group belongs to another system",
        "grow it in the guest",
    ),
    (
        r"is locked|Can't resize (a )?locked",
        "LVM is just moving the volume's data",
        "end that in the guest (pvmove)",
    ),
    (r"read.?only", "what is to be grown is marked as read-only", "make it writable in the guest"),
    (
        (
            r"unsupported feature|Unknown feature|features? .*(not|un)supported|RO_COMPAT|unknown "
            r"(compat|incompat)"
        ),
        (
            "the file system is newer than this machine's tools or kernels: it has features that "
            "they do not know"
        ),
        _NEWER,
    ),
    (
        r"wrong fs type|bad superblock|can't read superblock|unknown filesystem type",
        (
            "the kernel does not mount the file system: it is newer than the kernel, damaged, or "
            "lies on several devices"
        ),
        "mount it in the guest and look at what its kernel says (dmesg)",
    ),
    (
        (
            r"Structure needs cleaning|needs? (to be )?(checked|repair)|UNEXPECTED "
            r"INCONSISTENCY|inconsisten|corrupt"
        ),
        "the file system is damaged",
        _REPAIR.format("e2fsck -f, xfs_repair, btrfs check, fsck.f2fs -f, chkdsk"),
    ),
    (
        r"No space left|not enough space|no space",
        "there is no room for it",
        "free some space there, and try again",
    ),
    (
        r"Cannot allocate memory|out of memory|memory allocation",
        "there was not enough memory",
        _MEMORY,
    ),
    (
        r"Input/output error|short (read|write)",
        "a part of the disk could not be read or written",
        "check the image (growdisk image check IMAGE) and the host's disk (dmesg)",
    ),
    (
        r"No key available|No usable keyslot|not a valid LUKS",
        "the key does not open the encrypted container",
        "give the right passphrase (--key-file FILE)",
    ),
    (
        r"[Bb]usy|in use",
        "something else on this machine uses it",
        "look at what that is, and run growdisk again",
    ),
    (
        r"too many (block group )?descriptors|too large to be|must be less than 2\^32",
        "the file system was made so small that it cannot become that large",
        "grow it by less",
    ),
    (
        r"not cleanly|unclean|Mount unclean",
        "the guest was not shut down cleanly",
        "start the guest, shut it down, and run growdisk again",
    ),
)


def meaning(words: str) -> tuple[str, str] | None:
    """Why, and what to do; None if nobody has written down what these words mean."""
    return next(((why, do) for pattern, why, do in _KNOWN if re.search(pattern, words)), None)
