"""A guest's files in memory."""

from __future__ import annotations

import fnmatch

UUID = "3f9a2c1e-5b7d-4c88-9a10-0c2d4e6f8a1b"


INSTALLER_FSTAB = f"""\
# /etc/fstab: static file system information.
#
# <file system> <mount point>   <type>  <options>       <dump>  <pass>
# / was on /dev/sda1 during installation
UUID=11111111-2222-3333-4444-555555555555 /               ext4    errors=remount-ro 0       1
# swap was on /dev/sda5 during installation
UUID={UUID} none            swap    sw              0       0
/dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0
"""


class Files:
    """A guest's files in memory."""

    def __init__(self, **contents: str | bytes) -> None:
        self.contents = {
            path: content.encode() if isinstance(content, str) else content
            for path, content in contents.items()
        }
        self.writes: list[str] = []

    def read(self, path: str) -> bytes:
        return self.contents[path]

    def read_start(self, path: str, length: int) -> bytes:
        return self.contents[path][:length]

    def write(self, path: str, content: bytes) -> None:
        assert path in self.contents
        self.contents[path] = content
        self.writes.append(path)

    def prepend(self, path: str, block: bytes) -> None:
        self.write(path, block + self.contents[path])

    def exists(self, path: str) -> bool:
        return any(known == path or known.startswith(path + "/") for known in self.contents)

    def glob(self, pattern: str) -> list[str]:
        return sorted(path for path in self.contents if fnmatch.fnmatch(path, pattern))


def guest() -> Files:
    return Files(
        **{
            "/etc/fstab": INSTALLER_FSTAB.encode() + b"# caf\xe9 in latin-1\n",
            "/etc/initramfs-tools/initramfs.conf": "MODULES=most\n",
            "/etc/initramfs-tools/conf.d/resume": f"RESUME=UUID={UUID}\n",
            "/etc/default/grub": f'GRUB_CMDLINE_LINUX="resume=UUID={UUID}"\n',
            "/boot/grub/grub.cfg": (
                f"linux /boot/vmlinuz-6.1 root=UUID=1 ro resume=UUID={UUID} quiet\n"
            ),
            "/boot/grub2/grubenv": b"# GRUB\nkernelopts=ro resume=/dev/sda5 quiet\n".ljust(
                1024, b"#"
            ),
            "/boot/initrd.img-6.1": b"\x1f\x8b compressed",
            "/boot/initrd.img-6.1.bak": b"not an initrd",
        }
    )
