"""What host tools cannot do for a guest, and libguestfs does: commands, and the same files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from growdisk import api
from growdisk.api.provisioning.recipe import FileInto, KeysFor, PasswordFor
from growdisk.errors import error_id
from growdisk.units import GiB, SizeSpec
from tests.e2e.provisioned import EVERYTHING, KEY, GuestAccess
from tests.guests.appliance import Bench, device, quick_bench
from tests.guests.classic import Guest
from tests.guests.layered import KEYS, layered_guests
from tests.guests.manifest import differences, file_manifest

OPEN = (
    "lvm vgchange -qq -ay guest-vg >/dev/null; mkdir -p /tmp/m; mount /dev/guest-vg/root /tmp/m; "
)
CLOSE = "umount /tmp/m; lvm vgchange -qq -an guest-vg >/dev/null"
PASSWD = "root:x:0:0:root:/root:/bin/sh"

pytestmark = [pytest.mark.appliance, pytest.mark.timeout(1200)]


def made(base: Path, out: Path, **changes: object) -> api.Provisioned:
    (output,) = api.provision(
        base, [api.Output(out)], api.Recipe(**({"overlay": True} | changes))
    ).outputs
    return output


def test_commands_run_in_the_guests_own_tree_and_may_make_users(
    classic_base: Guest, tmp_path: Path
) -> None:
    output = made(
        classic_base.image,
        tmp_path / "web.qcow2",
        hostname="web",
        files=(FileInto("/root/script", content="id -u; cat /etc/debian_version", mode=0o755),),
        commands=(
            "useradd -m -u 1234 ann",
            "sh /root/script > /root/said",
            "echo {{ name }} >> /root/said",
        ),
        authorized_keys=(KeysFor("ann", KEY),),
        passwords=(PasswordFor("ann", b"secret"),),
    )
    assert output.error is None and "ran: useradd -m -u 1234 ann" in output.customized
    inside = GuestAccess(tmp_path / "web.qcow2")
    first, version, name = inside.texts["/root/said"].splitlines()
    assert (first, name) == ("0", "web") and version.startswith("12")
    assert inside.owner_and_mode("/home/ann/.ssh/authorized_keys") == ((1234, 1234), 0o600)
    changed = differences(file_manifest(classic_base.image), inside.files)
    assert not [line for line in changed if line.startswith(("/usr/", "/boot/", "/var/lib/dpkg"))]


def test_a_command_that_fails_leaves_no_output(classic_base: Guest, tmp_path: Path) -> None:
    error = made(
        classic_base.image, tmp_path / "web.qcow2", commands=("echo no such thing >&2; exit 3",)
    ).error
    assert (
        error
        and error_id(error) == "command-failed"
        and "no such thing" in error.why
        and error.exit_code == 4
    )
    assert list(tmp_path.iterdir()) == []


def test_both_backends_make_the_same_guest(classic_base: Guest, tmp_path: Path) -> None:
    base = Path(shutil.copy(classic_base.image, tmp_path / "base.qcow2"))
    options = {
        **EVERYTHING,
        "authorized_keys": (KeysFor("root", KEY),),
        "passwords": (PasswordFor("root", hashed="!"),),
    }
    options["files"] = (
        FileInto("/opt/app/new", content="x" * 3_000_000, mode=0o4755, owner="daemon", group="adm"),
    )
    trees = []
    for backend in ("direct", "guestfs"):
        assert made(base, tmp_path / f"{backend}.qcow2", backend=backend, **options).error is None
        trees.append(file_manifest(tmp_path / f"{backend}.qcow2"))
    different = [line for line in differences(*trees) if not _only_times(line)]
    assert different == []


def _only_times(line: str) -> bool:
    return all(change.split()[0] == "mtime" for change in line.partition(": ")[2].split(", "))


def test_a_tool_that_fails_in_auto_is_replaced_by_the_appliance(
    classic_base: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growdisk.backends.direct_editor.DirectEditor.put", _fails)
    output = made(
        classic_base.image, tmp_path / "web.qcow2", files=(FileInto("/root/x", content="y"),)
    )
    assert output.error is None and "host tools could not" in output.notes[0]
    assert GuestAccess(tmp_path / "web.qcow2").texts["/root/x"] == "y"
    failed = made(
        classic_base.image,
        tmp_path / "b.qcow2",
        backend="direct",
        files=(FileInto("/x", content="y"),),
    )
    assert failed.error is not None and error_id(failed.error) != "provisioning-failed"


def _fails(*_: object) -> None:
    from growdisk.errors import ToolFailed

    raise ToolFailed("debugfs", 1, "made to fail by this test")


def test_a_root_in_a_logical_volume_is_found(tmp_path: Path) -> None:
    base, out = tmp_path / "base.raw", tmp_path / "web.raw"
    shutil.copy(layered_guests() / "lvm.raw", base)
    base.chmod(0o644)
    with quick_bench([base]) as appliance:
        appliance.run(f"{OPEN}mkdir -p /tmp/m/etc; echo {PASSWD} >/tmp/m/etc/passwd; {CLOSE}")
    output = made(base, out, overlay=False, size=SizeSpec(GiB, relative=False), hostname="web")
    assert output.error is None and output.growpart == "nothing"
    with quick_bench([out], read_only=True) as appliance:
        said = appliance.run(f"{OPEN}cat /tmp/m/etc/hostname; {CLOSE}")
    assert said.strip() == "web" and "grow-lv" in [step.name for step in output.steps]


@pytest.mark.slow
def test_a_root_in_an_encrypted_container_is_found_with_its_key(tmp_path: Path) -> None:
    base, out, closed = (tmp_path / f"{name}.raw" for name in ("base", "web", "closed"))
    shutil.copy(layered_guests() / "luks1.raw", base)
    base.chmod(0o644)
    with quick_bench([base]) as appliance:
        appliance.run(
            f"{_opened(appliance, base)}mkdir -p /tmp/m/etc; echo {PASSWD} >/tmp/m/etc/passwd; "
            f"{_CLOSED}"
        )
    options = {"overlay": False, "size": SizeSpec(GiB, relative=False), "hostname": "web"}
    output = made(base, out, keys=(KEYS["luks1"].rstrip(b"\n"),), **options)
    assert output.error is None and "grow-luks" in [step.name for step in output.steps]
    with quick_bench([out], read_only=True) as appliance:
        assert (
            appliance.run(f"{_opened(appliance, out)}cat /tmp/m/etc/hostname; {_CLOSED}").strip()
            == "web"
        )
    assert made(base, closed, **options).error is not None and not closed.exists()


_CLOSED = "umount /tmp/m; cryptsetup close opened"


def _opened(appliance: Bench, image: Path) -> str:
    key = appliance.give(KEYS["luks1"].rstrip(b"\n"))
    mount = "mkdir -p /tmp/m; mount /dev/mapper/opened /tmp/m; "
    return f"cryptsetup open --key-file {key} {device(image, 1)} opened; {mount}"
