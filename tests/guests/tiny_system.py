"""The few files of a Debian root that growdisk reads or repairs:
fstab, RESUME, an initrd, GRUB's menu.
"""

from __future__ import annotations

import gzip

from tests.guests.content import Entry, directory, text

KERNEL = "6.1.0-0-tiny"


def system_files(
    root_uuid: str, swap_uuid: str, *, resume_on_command_line: bool = False
) -> list[Entry]:
    """A root without programs, as its swap's owner left it."""
    options = f"ro quiet resume=UUID={swap_uuid}" if resume_on_command_line else "ro quiet"
    menu = (
        f"\tlinux\t/boot/vmlinuz-{KERNEL} root=UUID={root_uuid} "
        f"{options}\n\tinitrd\t/boot/initrd.img-{KERNEL}\n"
    )
    folders = [
        "boot", "boot/grub", "etc", "etc/default", "etc/initramfs-tools",
        "etc/initramfs-tools/conf.d", "dev", "proc",
    ]  # fmt: skip
    return [
        *(directory(folder) for folder in folders),
        text("etc/fstab", fstab(root_uuid, swap_uuid)),
        text(
            "etc/os-release",
            'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
        ),
        text("etc/hostname", "tiny\n"),
        text("etc/initramfs-tools/conf.d/resume", f"RESUME=UUID={swap_uuid}\n"),
        text(
            "etc/default/grub",
            f'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT="{options.removeprefix("ro ")}"\n',
        ),
        text("boot/grub/grub.cfg", f"set timeout=5\nmenuentry 'Debian GNU/Linux' {{\n{menu}}}\n"),
        Entry(f"boot/initrd.img-{KERNEL}", initrd(f"RESUME=UUID={swap_uuid}\n")),
    ]


def fstab(root_uuid: str, swap_uuid: str) -> str:
    return (
        "# /etc/fstab: static file system information.\n#\n"
        "# <file system> <mount point>   <type>  <options>       <dump>  <pass>\n"
        "# / was on /dev/sda1 during installation\n"
        f"UUID={root_uuid} /               ext4    errors=remount-ro 0       1\n"
        "# swap was on /dev/sda5 during installation\n"
        f"UUID={swap_uuid} none            swap    sw              0       0\n"
        "/dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0\n"
    )


def initrd(resume: str) -> bytes:
    """A gzip'd newc archive with conf/conf.d/resume in it, where initramfs-tools puts it."""
    files = [
        ("conf", 0o40755, b""),
        ("conf/conf.d", 0o40755, b""),
        ("conf/conf.d/resume", 0o100644, resume.encode()),
    ]
    members = [_newc(number, *file) for number, file in enumerate(files, start=1)]
    return gzip.compress(b"".join(members) + _newc(0, "TRAILER!!!", 0, b""), mtime=0)


def _newc(inode: int, name: str, mode: int, data: bytes) -> bytes:
    """One member: thirteen hexadecimal fields, the name and the data, each padded to four bytes."""
    path = name.encode() + b"\0"
    fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)
