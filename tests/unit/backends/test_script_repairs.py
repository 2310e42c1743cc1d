"""Guest-side scripts repair a guest as it is repaired offline."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest

from growdisk.guest_config.boot_settings import (
    resume_none,
    without_dracut_devices,
    without_kernel_options,
)
from growdisk.guest_config.etc_tables import without_container, without_swap
from growdisk.guest_config.initrd import forgetting_block
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import repair_guest
from growdisk.guest_config.systemd_units import without_wants
from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import GuestPlan, Phase
from tests.unit.backends.memory_files import Files
from tests.unit.backends.script_plans import part_of, planned
from tests.unit.backends.shells import IDENTITY, SHELLS, SWAP, editors, in_shell, with_swap

FSTABS = (
    f"# a comment\nUUID={SWAP.uuid} none swap sw 0 0\nUUID=other / ext4 defaults 0 1\n",
    (
        f'  UUID="{SWAP.uuid.upper()}"\tnone\tswap sw 0 0\n/dev/sda5 swap swap sw\n/dev/sdb5 none '
        "swap sw 0 0"
    ),
    (
        "LABEL=my\\040swap none swap sw 0 0\nPARTUUID=1D5C0DE5-05 none swap sw\n#/dev/sda5 none "
        "swap "
        "sw\n\n*\n"
    ),
    (
        "/dev/disk/by-label/my\\x20swap none swap sw\n/dev/sda5 /mnt ext4 defaults 0 0\n-n -e \\n "
        "\\\\ %s\n"
    ),
    "/dev/disk/by-label/my\\134x20swap none swap sw\n",
    f"/dev/disk/by-path/pci-0-part/by-uuid/{SWAP.uuid} none swap sw 0 0\n",
    "/swapfile none swap sw 0 0\n/dev/sda5 none swap sw 0 0\n",
    "latin1 caf\udce9 /x ext4\n",
    "",
)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("text", FSTABS)
@pytest.mark.parametrize("policy", [SwapRemedy.DROP, SwapRemedy.FILE])
def test_fstab_is_repaired_as_offline(shell: list[str], text: str, policy: SwapRemedy) -> None:
    named = "yes" if policy is SwapRemedy.DROP or "/swapfile" in text else ""
    edit = f"{editors(with_swap(SWAP))}\nfile_named={named}\neach_line fstab_line"
    assert in_shell(shell, edit, text) == without_swap(text, IDENTITY, policy)


DATA = RemovedPartition(
    3,
    "0da7a000-6e5b-4d4e-9a53-0d4a58a1c0de",
    "my data",
    "1d5c0de5-03",
    mapped=("/dev/vg0/x",),
    is_swap=False,
)
INNER = RemovedPartition(3, "1e4e0000-6e5b-4d4e-9a53-0d4a58a1c0de", None, is_swap=False)
GONE_FSTABS = (
    (
        f"UUID={DATA.uuid} /data ext4 defaults 0 2\n# /dev/sda3 /x\n/dev/sda1 / ext4 rw 0 "
        "1\nLABEL=my\\040data /y xfs\n"
    ),
    (
        "/dev/sda3 none swap sw 0 0\n/dev/vg0/x\t/x ext4 defaults 0 0\n/dev/sdb3 /b ext4 defaults "
        "0 "
        "0\n/dev/sda3\n"
    ),
    (
        f"UUID={INNER.uuid} /inner ext4 defaults 0 2\nPARTUUID=1D5C0DE5-03 /p ext4 "
        "defaults\n/dev/sda33 /q ext4 defaults\n"
    ),
)


def with_data_gone() -> GuestPlan:
    return replace(planned("classic-drop"), swaps=(), gone=(DATA, INNER))


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("text", GONE_FSTABS)
def test_fstab_forgets_a_deleted_partition_as_offline(shell: list[str], text: str) -> None:
    edit = f"{editors(with_data_gone())}\neach_line fstab_line"
    expected = without_swap(without_swap(text, DATA, SwapRemedy.DROP), INNER, SwapRemedy.DROP)
    assert expected != text
    assert in_shell(shell, edit, text) == expected


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_crypttab_forgets_a_deleted_container_and_fstab_what_it_opened(
    shell: list[str], tmp_path: Path
) -> None:
    crypttab = (
        f"# a name\nvault UUID={DATA.uuid} none luks\n  other /dev/sda1 "
        "none\n\nthird\t/dev/sda3 /key luks\n"
    )
    (tmp_path / "crypttab").write_text(crypttab)
    functions = editors(with_data_gone()).replace("/etc/crypttab", f"{tmp_path}/crypttab")
    assert in_shell(shell, f"{functions}\neach_line crypttab_line", crypttab) == without_container(
        crypttab, DATA
    )
    fstab = (
        "/dev/mapper/vault /v ext4 defaults 0 2\n/dev/mapper/other /o ext4 defaults 0 "
        "2\n/dev/mapper/third none swap\n"
    )
    opened = replace(DATA, mapped=("/dev/mapper/vault", "/dev/mapper/third"))
    said = in_shell(shell, f"{functions}\neach_line fstab_line", fstab)
    assert said == without_swap(fstab, opened, SwapRemedy.DROP)
    assert said.count("removed by growdisk") == 2


RESUMES = (
    f"RESUME=UUID={SWAP.uuid}\n",
    (
        f'# RESUME=x\n  export RESUME="UUID={SWAP.uuid}" # '
        "why\nRESUME=/dev/sda5;X=1\nRESUME=UUID=b\nNORESUME=/dev/sda5"
    ),
    "RESUME=\nMODULES=most\nRESUME='LABEL=my swap'\n",
    (
        'RESUME=LABEL="my swap"\nRESUME=LABEL="other '
        f'one"\nRESUME=UUID={SWAP.uuid}\r\nRESUME=/dev/sda5#x\nRESUME="a;b"\n'
    ),
    "RESUME=LABEL=my\\ swap\nRESUME=LABEL=my\\ own\\ swap\n",
)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("text", RESUMES)
def test_resume_is_repaired_as_offline(shell: list[str], text: str) -> None:
    assert in_shell(
        shell, f"{editors(with_swap(SWAP))}\neach_line resume_line", text
    ) == resume_none(text, IDENTITY)


COMMAND_LINES = (
    f'GRUB_CMDLINE_LINUX_DEFAULT="quiet resume=UUID={SWAP.uuid} resume_offset=1024 splash"\n',
    f'GRUB_CMDLINE_LINUX="resume=UUID={SWAP.uuid}"\nGRUB_CMDLINE_LINUX="resume=/dev/sda5  quiet"\n',
    (
        "\tlinux /vmlinuz root=UUID=x ro  resume=/dev/sda5\n# resume=/dev/sda5\nnoresume=/dev/sda5 "
        "resume=/dev/sdb5\n"
    ),
    "options root=/dev/sda1 resume=PARTUUID=1d5c0de5-05 rw resume_offset=2\nresume=/dev/sda5 quiet",
    (
        f'linux /v resume="UUID={SWAP.uuid}" quiet\nX=\'resume="LABEL=my swap" y\'\nlinux /v '
        'resume="LABEL=other swap" z\n'
    ),
    (
        f"setenv bootargs resume=UUID={SWAP.uuid};bootz\noptions x "
        f'resume=UUID={SWAP.uuid}\r\n["resume=/dev/sda5", "y"]\n'
    ),
    (
        f"linux /v rd.luks.uuid=luks-{SWAP.uuid} rd.luks.uuid=other luks.name={SWAP.uuid}=s "
        "rd.luks.options=discard\n"
    ),
    (
        "options systemd.swap-extra=/dev/sda5:nofail rd.luks.partuuid=1d5c0de5-05 "
        "real_resume=LABEL=x "
        "rd.lvm.lv=sda5 q\n"
    ),
    (
        "options rd.lvm.lv=vg/root systemd.mount_extra=LABEL=x:/x:ext4 cryptdevice=/dev/sda5:c "
        "rw\nexport real_resume=1"
    ),
    'GRUB_CMDLINE_LINUX="quiet resume=\\"LABEL=my swap\\" splash resume=\\"LABEL=my own swap\\""\n',
    (
        "linux /v resume=LABEL=my\\ swap ro\nlinux /v resume=LABEL=my\\ own ro\nlinux /v "
        "resume=LABEL=my\\"
    ),
    (
        'GRUB_CMDLINE_LINUX="resume=/dev/disk/by-label/my\\\\x20swap a"\nlinux /v '
        "resume=/dev/disk/by-label/my\\x20swap\n"
    ),
    (
        f"\tset resume=UUID={SWAP.uuid}\nset  resume='UUID={SWAP.uuid}'; linux /v resume=$resume\n"
        "export resume=/dev/sda5\nset resume=\nset x.set resume=/dev/sda5\nset resume=/dev/sdb5\n"
        "set resume2=swap:/dev/sda5\nlinux /v resume resume=/dev/sda5 noresume resume_offset=1"
    ),
    (
        f"linux /v resume2=swap:/dev/sda5 resume2=swap:UUID={SWAP.uuid} resume2=swap:/dev/sdb5 "
        f"resume=UUID={SWAP.uuid} q\n"
    ),
)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("text", COMMAND_LINES)
def test_command_lines_are_repaired_as_offline(shell: list[str], text: str) -> None:
    edit = f"{editors(with_swap(SWAP))}\neach_line command_line"
    assert in_shell(shell, edit, text) == without_kernel_options(text, IDENTITY)


DRACUTS = (
    (
        f'add_device+=" UUID={SWAP.uuid} /dev/sdb5 " #\nadd_device+=" '
        '/dev/sda5"\nkernel_cmdline+=" '
        'resume=/dev/sda5 "\n'
    ),
    (
        f"add_device=/dev/sda5\nadd_device+=UUID={SWAP.uuid} # x\nadd_device=/dev/sdb5\n "
        "host_devs+='/dev/sdb5 /dev/sda5'"
    ),
)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("text", DRACUTS)
def test_what_dracut_is_told_is_repaired_as_offline(shell: list[str], text: str) -> None:
    edit = f"{editors(with_swap(SWAP))}\neach_line dracut_line"
    assert in_shell(shell, edit, text) == without_dracut_devices(text, IDENTITY)


_BY_UUID = SWAP.uuid.replace("-", "\\x2d")
WANTS = (
    (
        f"[Unit]\nRequires=dev-disk-by\\x2duuid-{_BY_UUID}.swap\nAfter=x.target dev-sda5.device "
        "y.service\n"
    ),
    (
        "[Unit]\nBindsTo=dev-disk-by\\x2dlabel-my\\x5cx20swap.device "
        "dev-sdb5.swap\nWants=dev-sda55.swap\nBefore=\n"
    ),
    "[Service]\nExecStart=/bin/echo dev-sda5.swap\n# After=dev-sda5.swap\nAfter=dev-sda5.service",
)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("text", WANTS)
def test_what_other_units_want_is_repaired_as_offline(shell: list[str], text: str) -> None:
    assert in_shell(
        shell, f"{editors(with_swap(SWAP))}\neach_line wants_line", text
    ) == without_wants(text, IDENTITY)


UNITS = {
    "a.swap": ("[Swap]\nWhat=/dev/sda5\r\n", ""), "b.swap": ("[Swap]\nWhat=/dev/sdb5\n",) * 2,
    "dev-sda5.swap": ("[Swap]\nPriority=1\n", ""), "dev-sdb5.swap": ("[Swap]\nPriority=1\n",) * 2,
    "data.mount": ("[Mount]\nWhat=LABEL=my swap\nWhere=/data\n", ""),
    "data.automount": ("[Automount]\n", ""),
    "other.mount": ("[Mount]\nWhat=LABEL=x\n",) * 2, "other.automount": ("[Automount]\n",) * 2,
}  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_units_are_masked_as_offline(shell: list[str], tmp_path: Path) -> None:
    for name, (before, _) in UNITS.items():
        (tmp_path / name).write_text(before)
    masks = 'changed=\nkeep() { :; }\nfor file in *.swap *.mount; do mask "$file"; done'
    in_shell(shell, f"{editors(with_swap(SWAP))}\n{masks}", cwd=tmp_path)
    expected = {name: new for name, (_, new) in UNITS.items()}
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == expected
    offline = Files(
        **{f"/etc/systemd/system/{name}": before for name, (before, _) in UNITS.items()}
    )
    repair_guest(offline, IDENTITY, SwapRemedy.DROP)
    assert {
        path.rpartition("/")[2]: content.decode() for path, content in offline.contents.items()
    } == expected


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_by_its_path_and_number_below_it_a_partition_of_this_disk_is_known(
    shell: list[str], tmp_path: Path
) -> None:
    disk, part = tmp_path / "pci-0", "/dev/disk/by-path/pci-0-part/by-partnum/5"
    disk.symlink_to("/dev/sda")
    script = editors(with_swap(SWAP)).replace('"${2%-part*}"', f'"{disk}"')
    line = f"{part} none swap sw 0 0\n"
    assert in_shell(shell, f"disk=/dev/sda\n{script}\neach_line fstab_line", line).startswith("#")


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_what_is_listed_by_blocks_signed_or_has_a_checksum_is_known(
    shell: list[str], tmp_path: Path
) -> None:
    for name in ("map", "initrd.img-6", "initrd.img-6.sig", "initrd.img-5"):
        (tmp_path / name).write_text(name)
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    functions = part_of(script, "each_place() {", "# -- Files that name")
    functions += part_of(script, "is_known() {", "# As it was") + part_of(
        script, "has_list() {", "forget_all()"
    )
    look = (
        f"listed= log=/dev/null boots=.\n{functions}\n"
        "limine=$(find . -name 'limine.c*')\n"
        "each_place . 'map bootmap' has_list\n"
        "each_place . '*nitrd*[0-9]' has_signature\necho $listed"
    )
    assert in_shell(shell, look, cwd=tmp_path) == "./map ./initrd.img-6\n"
    checksum = blake2b(b"initrd.img-5").hexdigest()
    (tmp_path / "limine.conf").write_text(f"module_path: boot():/initrd.img-5#{checksum}\n")
    assert in_shell(shell, look, cwd=tmp_path) == "./map ./initrd.img-5 ./initrd.img-6\n"


# The one of busybox does not know them.
@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"]], ids=lambda shell: shell[0])
def test_a_changed_file_keeps_its_mode_and_attributes(shell: list[str], tmp_path: Path) -> None:
    file = tmp_path / "fstab"
    file.write_text("/dev/sda5 none swap sw 0 0\n")
    file.chmod(0o604)
    os.setxattr(file, "user.note", b"of its own")
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    edit = part_of(script, "edit() {", "fstab_line() {")
    asked = f"changed= limine= state=.\n{editors(with_swap(SWAP))}\n{edit}"
    in_shell(shell, f"{asked}\nedit fstab fstab_line", cwd=tmp_path)
    assert file.read_text() == "# removed by growdisk: /dev/sda5 none swap sw 0 0\n"
    assert file.stat().st_mode & 0o777 == 0o604
    assert os.getxattr(file, "user.note") == b"of its own"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("fstab", ["/dev/sda1 / ext4 rw 0 1\n", "/dev/sda1 / ext4 rw 0 1"])
def test_a_swap_file_gets_a_line_where_fstab_did_not_name_the_swap(
    shell: list[str], tmp_path: Path, fstab: str
) -> None:
    """A unit did, or the type of the partition."""
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    complete = part_of(script, "fill_up() {", "fstab_line() {")
    (tmp_path / "edited").write_text(fstab)
    for named in ("", "yes"):
        in_shell(shell, f"state=. file_named={named}\n{complete}\nfill_up /etc/fstab", cwd=tmp_path)
        text = (tmp_path / "edited").read_text()
        lines = [line for line in text.splitlines() if line]
        assert lines == [fstab.strip(), "/swapfile none swap sw 0 0"]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_where_nothing_can_be_written_a_file_that_stays_is_no_failure_and_another_is_named(
    shell: list[str], tmp_path: Path
) -> None:
    """Below /usr and /sysroot, mostly."""
    (tmp_path / "other").write_text("/dev/sdb5 none swap sw 0 0\n")
    (tmp_path / "named").write_text("/dev/sda5 none swap sw 0 0\n")
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    edit = part_of(script, "edit() {", "fstab_line() {")
    # A folder cannot be opened for writing by root either.
    closed = '(: >>"$1")'
    assert closed in edit
    edit = edit.replace(closed, "(: >>state)")
    (tmp_path / "state").mkdir()
    asked = f"changed= closed= failed= limine= state=state\n{editors(with_swap(SWAP))}\n{edit}"
    look = "cp() { false; }\nedit other fstab_line\nedit named fstab_line\n"
    said = in_shell(shell, f'{asked}\n{look}echo "$changed:$failed:$closed"', cwd=tmp_path)
    assert said == ":: named\n"
    assert (tmp_path / "named").read_text().startswith("/dev/sda5")


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_an_initrd_gets_the_same_block_as_offline(shell: list[str]) -> None:
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    maker = part_of(script, "forgetting_5() {", "# forget FILE")
    said = subprocess.run(
        [*shell, "-c", f"{maker}\nforgetting_5"], capture_output=True, check=True
    ).stdout
    assert said == forgetting_block(IDENTITY)
