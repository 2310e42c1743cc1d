"""A guest with everything that a recipe can ask for, and a look inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from growdisk.api.provisioning.recipe import FileInto, KeysFor, PasswordFor
from tests.e2e.judges import assert_filesystem, sfdisk
from tests.guests.debian_files import OLD_KEY
from tests.guests.ext2fs import open_ext
from tests.guests.manifest import Manifest, as_raw, file_manifest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx1nd4e3kqkqkq2kq2kq2kq2 ann@home"


EVERYTHING = {
    "hostname": "web-{{ n }}.example",
    "reset_machine_id": True,
    "remove_ssh_host_keys": True,
    "authorized_keys": (KeysFor("ann", KEY), KeysFor("root", f"# mine\n{KEY}\n{OLD_KEY}\n")),
    "passwords": (PasswordFor("root", b"secret"), PasswordFor("ann", hashed="!")),
    "files": (
        FileInto("/opt/app/a \"quoted\" name", content="for {{ hostname }}, {{ color }}\n",
            template=True, mode=0o640,
                 owner="ann", group="adm"),
        FileInto("/etc/fstab.d", content="x" * 70_000, owner="7"),
    ),
    "variables": {"color": "red"},
}  # fmt: skip


class GuestAccess:
    """A finished image, read by libext2fs."""

    def __init__(self, image: Path) -> None:
        with as_raw(image, "qcow2") as raw:
            part = sfdisk(raw)[0]
            start, size = (int(str(part[key])) * 512 for key in ("start", "size"))
            assert_filesystem(raw, start, size)
            self.files: Manifest = file_manifest(image)
            self.texts: Mapping[str, str] = dict(self._texts(raw, start))

    @staticmethod
    def _texts(raw: Path, start: int) -> Iterator[tuple[str, str]]:
        with open_ext(raw, start) as filesystem:
            for path, inode in filesystem.walk():
                if inode.mode >> 12 == 0o10 and inode.size < 100_000:
                    content = b"".join(filesystem.chunks(inode))
                    yield path.decode(errors="surrogateescape"), content.decode(errors="replace")

    def owner_and_mode(self, path: str) -> tuple[tuple[int, int], int]:
        return self.files[path].owner, self.files[path].mode & 0o7777
