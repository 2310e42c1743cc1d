"""Guest-side scripts: what `--delete` takes from files, and files that no shell can rewrite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.guest_config.boot_settings import without_kernel_options
from growdisk.guest_config.etc_tables import without_swap
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import GuestPlan, Phase
from tests.unit.backends.script_plans import part_of, planned
from tests.unit.backends.shells import IDENTITY, SHELLS, SWAP, editors, in_shell, with_swap

DATA = RemovedPartition(3, "0da7a000-6e5b-4d4e-9a53-0d4a58a1c0de", "my data", is_swap=False)
INSIDE = f"""\
/data/srv /srv none bind 0 0
UUID={DATA.uuid} /data ext4 defaults 0 2
/dev/sda1 / ext4 rw 0 1
#/data/x /y none bind
#overlay /y overlay lowerdir=/data/y
/srv/a /a none bind 0 0
/data/inner/b /b none bind 0 0
/dev/sdb1 /data/inner ext4 defaults 0 0
overlay /o overlay lowerdir=/usr:/data/l,upperdir=/u,workdir=/w 0 0
overlay /p overlay lowerdir=/usr:/datax/l,upperdir=/u,workdir=/w 0 0
server:/data/x /n nfs defaults 0 0
"""


def with_data_gone() -> GuestPlan:
    return replace(planned("classic-drop"), swaps=(), gone=(DATA,))


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_binds_and_overlays_of_a_deleted_partition_leave_fstab_as_offline(
    shell: list[str], tmp_path: Path
) -> None:
    """What systemd cannot mount at the next boot ends it in an emergency shell."""
    (tmp_path / "fstab").write_text(INSIDE)
    functions = editors(with_data_gone()).replace("/etc/fstab", f"{tmp_path}/fstab")
    twice = "each_line fstab_line <fstab >once; each_line fstab_line <once"
    said = in_shell(shell, f"{functions}\n{twice}", cwd=tmp_path)
    assert said == without_swap(INSIDE, DATA, SwapRemedy.DROP)
    assert said.count("removed by growdisk") == 4


OPENED = {
    f"rd.luks.name={DATA.uuid}=vault": "vault",
    f"quiet rd.luks.uuid={DATA.uuid}": f"luks-{DATA.uuid}",
    f"luks.uuid=luks-{DATA.uuid}": f"luks-{DATA.uuid}",
    f"cryptdevice=UUID={DATA.uuid}:vault:discard": "vault",
    f"cryptopts=target=vault,source=UUID={DATA.uuid},key=x": "vault",
}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("options", OPENED)
def test_what_the_kernel_opens_from_a_deleted_partition_leaves_fstab(
    shell: list[str], tmp_path: Path, options: str
) -> None:
    (tmp_path / "cmdline").write_text(f"root=/dev/sda1 {options}\n")
    functions = editors(with_data_gone()).replace("/proc/cmdline", f"{tmp_path}/cmdline")
    fstab = f"/dev/mapper/{OPENED[options]} /v ext4 defaults 0 2\n/dev/mapper/root / ext4 rw 0 1\n"
    said = in_shell(shell, f"{functions}\neach_line fstab_line", fstab)
    assert said == f"# removed by growdisk: {fstab}"


MORE_OPTIONS = (
    f"linux /v cryptopts=target=c,source=UUID={SWAP.uuid},key=x q cryptopts=target=d,source=/dev/x",
    "linux /v resume=LABEL=my\\x20swap ro",
)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("text", MORE_OPTIONS)
def test_more_of_a_command_line_is_repaired_as_offline(shell: list[str], text: str) -> None:
    edit = f"{editors(with_swap(SWAP))}\neach_line command_line"
    said = in_shell(shell, edit, text)
    assert said == without_kernel_options(text, IDENTITY)
    assert said != text


BOOT_SCRIPT = b"\x27\x05\x19\x56\0\0\0\x01" + bytes(56) + b"setenv bootargs quiet resume=/dev/"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_file_with_zeros_stays_as_it_is_and_is_named_if_it_names_the_swap(
    shell: list[str], tmp_path: Path
) -> None:
    """A shell would leave its zeros out: U-Boot's boot.scr, and UTF-16 of the shell of EFI."""
    boot = tmp_path / "boot"
    boot.mkdir()
    files = {
        "boot.scr": BOOT_SCRIPT + b"sdb9\n",
        "boot.scr.uimg": BOOT_SCRIPT + b"sda5\n",
        "startup.nsh": "vmlinuz resume=/dev/sda5\r\n".encode("utf-16"),
    }
    for name, content in files.items():
        (boot / name).write_bytes(content)
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    functions = part_of(script, "each_place() {", "# As it was") + part_of(
        script, "# -- What still names it", "# -- Repair"
    )
    asked = (
        f"{editors(with_swap(SWAP))}\n{functions}\n"
        "export LC_ALL=C; changed= closed= failed= limine= listed= state=.\n"
        f"boots={boot} searched={boot}\n"
        "has_plain_initrds() { :; }\n"
        "each_place $boots 'boot.* *.nsh' edit_options; find_left; echo \"$changed;$left\""
    )
    said = in_shell(shell, asked, cwd=tmp_path)
    assert {name: (boot / name).read_bytes() for name in files} == files
    assert said == f";still named in: {boot}/boot.scr.uimg {boot}/startup.nsh\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    ("device", "free", "said"),
    [
        ("/dev/sda2", 5, "x/boot/initrd.img-6 cannot be changed"),
        ("/dev/sda2", 9, "ready"),
        ("/dev/sda1", 0, "ready"),
    ],
)
def test_a_boot_without_room_for_an_initrd_is_refused_before_anything_is_done(
    shell: list[str], tmp_path: Path, device: str, free: int, said: str
) -> None:
    script = render(with_swap(SWAP))[Phase.PREPARE.file_name]
    look = part_of(script, "for file in /boot/*initr*", '\nif [ -n "$checking" ]')
    look = look.replace("/boot/*", "x/boot/*").replace("/usr/share", "x")
    (tmp_path / "x/boot").mkdir(parents=True)
    (tmp_path / "x/initramfs-tools").mkdir()
    (tmp_path / "x/boot/initrd.img-6").write_bytes(bytes(4096))
    df = "df() { printf '%s\\n' Filesystem '/dev/sda1 100 50 0 100% /' \"$own\"; }"
    answer = 'answer() { echo "$2"; exit; }'
    own = f"{device} 100 {100 - free} 0 100% /boot"
    asked = f"set -eu\nmount_point=/ own='{own}'\n{df}\n{answer}\n{look}\necho ready"
    assert in_shell(shell, asked, cwd=tmp_path) == f"{said}\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("kind", ["none", "file", "link", "closed"])
def test_an_fstab_that_cannot_be_changed_is_refused_before_anything_is_done(
    shell: list[str], tmp_path: Path, kind: str
) -> None:
    """A link (NixOS), or immutable: at the end it would still have named the swap."""
    script = render(with_swap(SWAP))[Phase.PREPARE.file_name]
    look = part_of(script, "[ ! -e /etc/fstab ] ||", "# What forgets").replace("/etc/", "")
    if kind == "closed":  # root may write to any file
        look = look.replace("(: >>fstab)", "(: >>.)")
    if kind != "none":
        (tmp_path / "real").write_text("/dev/sda5 none swap sw 0 0\n")
        (tmp_path / "fstab").symlink_to("real")
    if kind in ("file", "closed"):
        (tmp_path / "real").rename(tmp_path / "fstab")
    asked = f'set -eu\nanswer() {{ echo "$1"; exit; }}\n{look}\necho ready'
    said = "refused" if kind in ("link", "closed") else "ready"
    assert in_shell(shell, asked, cwd=tmp_path) == f"{said}\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_guest_without_fstab_is_verified(shell: list[str], tmp_path: Path) -> None:
    """Those whose partitions systemd finds by their types have none."""
    script = render(with_swap(SWAP))[Phase.VERIFY.file_name]
    look = part_of(script, 'if [ -n "$gone_swaps$gone_parts" ] &&', "\ndisarrange")
    asked = f"set -eu\n{editors(with_swap(SWAP))}\n{look.replace('/etc/fstab', 'fstab')}\necho ok"
    assert in_shell(shell, asked, cwd=tmp_path) == "ok\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_guest_without_cmp_has_only_those_files_written_that_change(
    shell: list[str], tmp_path: Path
) -> None:
    lines = {"named": "/dev/sda5 none swap sw 0 0\n\n\n", "other": "/dev/sdb5 none swap sw 0 0\n\n"}
    for name, line in lines.items():
        (tmp_path / name).write_text(line)
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    edit = part_of(script, "edit() {", "fstab_line() {")
    asked = f"{editors(with_swap(SWAP))}\n{edit}\nchanged= closed= failed= limine= state=.\n"
    look = 'cmp() { return 127; }\nedit named fstab_line\nedit other fstab_line\necho "$changed"'
    assert in_shell(shell, asked + look, cwd=tmp_path) == " named\n"
    assert (tmp_path / "named").read_text() == f"# removed by growdisk: {lines['named']}"
    assert (tmp_path / "other").read_text() == lines["other"]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("mounted", [False, True])
def test_a_boot_that_is_not_mounted_is_refused_before_anything_is_done(
    shell: list[str], tmp_path: Path, mounted: bool
) -> None:
    """What is in it could name the swap, and would not be looked at (noauto)."""
    script = render(with_swap(SWAP))[Phase.PREPARE.file_name]
    look = part_of(script, "places='", "[ ! -e /etc/fstab ] ||")
    look = look.replace("/proc/self/mounts", "mounts").replace("/etc/fstab", "fstab")
    (tmp_path / "fstab").write_text(
        "# /dev/sda3 /efi vfat\n/dev/sda1 / ext4 rw 0 1\n/dev/sda2\t/boot\text4 noauto 0 2\n"
    )
    boot = "/dev/sda2 /boot ext4 rw 0 0\n" if mounted else ""
    (tmp_path / "mounts").write_text(f"/dev/sda1 / ext4 rw 0 0\n{boot}")
    asked = f'set -eu\nmount_point=\nanswer() {{ echo "$4"; exit; }}\n{look}\necho ready'
    said = "ready" if mounted else "mount /boot"
    assert in_shell(shell, asked, cwd=tmp_path) == f"{said}\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("made_by", ["dracut", "initramfs-tools"])
def test_a_check_tells_of_initrds_that_are_not_changed(
    shell: list[str], tmp_path: Path, made_by: str
) -> None:
    script = render(with_swap(SWAP))[Phase.PREPARE.file_name]
    look = part_of(script, 'if [ -n "$checking" ]; then\n    swap_off', '[ "$kind" != none ] ||')
    look = look.replace("/usr/", "usr/")
    (tmp_path / "usr/lib" / made_by).mkdir(parents=True)
    fakes = "swap_off() { :; }\nanswer() { echo $1; echo $3; }"
    asked = f"checking=yes tool=sfdisk\n{fakes}\n{look}"
    said = "make initrds again (dracut -f, mkinitcpio -P)" if made_by == "dracut" else ""
    assert in_shell(shell, asked, cwd=tmp_path) == f"done\n{said}\n"
