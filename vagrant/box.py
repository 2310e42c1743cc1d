"""`python -m vagrant.box`: a vagrant box (libvirt) of the Debian guest in the classic layout;
prints where it is.

What vagrant expects of a box (user vagrant with its well-known key, sudo without a password) comes
into a copy of the guest by growdisk provision (box.yml); the box itself is a tar of the image, its
metadata and a Vagrantfile.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path

from growdisk.units import GiB
from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import DISK_SIZE, classic_guest
from tests.guests.tools import run

NAME = "growdisk/classic"
GROWDISK = Path(sys.executable).with_name("growdisk")
_RECIPE = Path(__file__).with_name("box.yml")
_GEMS = Path("/usr/share/rubygems-integration/all/gems")
_DEFAULTS = """\
Vagrant.configure("2") do |config|
  config.vm.synced_folder ".", "/vagrant", disabled: true
end
"""


def box() -> Path:
    """The box, built now if there is none of this recipe and this guest."""
    key = recipe_hash([Path(__file__), _RECIPE], classic_guest().image.parent.name)[:32]
    return cached(f"vagrant-{key}", build) / "classic.box"


def build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-box-", dir="/var/tmp") as scratch:
        image = Path(scratch) / "box.img"
        provisioned(classic_guest().image, image)
        metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_SIZE // GiB}
        (Path(scratch) / "metadata.json").write_text(json.dumps(metadata))
        (Path(scratch) / "Vagrantfile").write_text(_DEFAULTS)
        with tarfile.open(folder / "classic.box", "w") as tar:
            for name in ("metadata.json", "Vagrantfile", "box.img"):
                tar.add(Path(scratch) / name, name)


def provisioned(base: Path, image: Path) -> None:
    """A copy of `base` that vagrant can log in to."""
    run(
        GROWDISK,
        "provision",
        base,
        image,
        "--recipe",
        _RECIPE,
        "--copy",
        f"{_public_key()}:/etc/vagrant.pub:0644",
    )
    run("qemu-img", "check", "-q", image)


def _public_key() -> Path:
    """Vagrant's well-known ("insecure") key, as vagrant ships it."""
    keys = sorted(_GEMS.glob("vagrant-[0-9]*/keys/vagrant.pub"))
    if not keys:
        raise SystemExit("vagrant.box: no vagrant here: setup/packages.sh vagrant")
    return keys[-1]


if __name__ == "__main__":
    print(box())
