"""Guest-side scripts as texts: deaf to hostile values, of one mind with the offline repair."""

from __future__ import annotations

import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import ExtContent
from growdisk.filesystems.ext_growth import descriptor_blocks_missing
from growdisk.filesystems.identify import identify
from growdisk.guest_config.crypttab import without_container
from growdisk.guest_config.dracut import without_devices
from growdisk.guest_config.fstab import without_swap
from growdisk.guest_config.initrd import forgetting_block
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.repair import repair_guest
from growdisk.guest_config.resume_device import resume_none, without_kernel_options
from growdisk.guest_config.systemd_units import without_wants
from growdisk.guest_scripts.render import render, shell_value
from growdisk.guest_scripts.script_plan import GuestPlan, GuestSwap, Phase
from growdisk.units import MiB
from tests.guests.tools import run
from tests.unit.backends.memory_files import Files
from tests.unit.backends.script_plans import LAYERS, guest_plans, locking, part_of, planned

SHELLS = (["dash"], ["busybox", "sh"], ["bash", "--posix"])
HOSTILE = "$(touch pwned)`touch pwned`';touch pwned;'\"|touch pwned\n touch pwned #*"
SWAP = GuestSwap(
    5, 1 << 26, "3a7dd4b2-6e5b-4d4e-9a53-0d4a58a1c0de", "my swap", "1d5c0de5-05", "", "drop"
)
IDENTITY = RemovedPartition(5, SWAP.uuid, SWAP.label, SWAP.partuuid, None)


def with_swap(swap: GuestSwap) -> GuestPlan:
    return replace(planned("classic-drop"), swaps=(swap,))


def in_shell(shell: list[str], text: str, stdin: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(
        [*shell, "-c", text],
        input=stdin.encode("utf-8", "surrogateescape"),
        capture_output=True,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape")


def editors(plan: GuestPlan) -> str:
    """The functions of repair.sh that change lines, on a disk named sda."""
    script = render(plan)[Phase.REPAIR.file_name]
    names = part_of(script, "# -- By what names", "# -- Swap that was moved")
    lines = part_of(script, "fstab_line() {", "# -- initrds")
    return f"set -eu\npart_device() {{ echo /dev/sda$1; }}\nfile_named=\n{names}\n{lines}\n"


def test_the_matrix_of_scripts_is_a_large_one() -> None:
    assert len(list(guest_plans())) >= 20


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_hostile_volume_name_stays_one_word(shell: list[str], tmp_path: Path) -> None:
    hostile = tuple(replace(layer, name=f"-{HOSTILE}") for layer in LAYERS)
    script = render(replace(planned("classic-drop"), layers=hostile))[Phase.GROW.file_name]
    action = part_of(script, "grow_layer() {", "# -- The file system")
    shown = "logged() { printf '<%s>' \"$@\"; }; bytes_of() { echo 0; }; inner_3=/dev/x\n"
    said = in_shell(shell, f"{shown}{action}\ngrow_layer 3 || :", cwd=tmp_path)
    assert said == f"<lvm><lvextend><-l><128><--><-{HOSTILE}>"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_hostile_value_stays_a_value(shell: list[str], tmp_path: Path) -> None:
    plan = replace(
        with_swap(replace(SWAP, label=HOSTILE, partlabel=HOSTILE, uuid=HOSTILE)), serial=HOSTILE
    )
    for text in render(plan).values():
        in_shell([*shell, "-n"], text, cwd=tmp_path)
    edit = (
        editors(plan)
        + 'is_named "LABEL=$1" && echo known; is_named "LABEL=other" || each_line fstab_line'
    )
    given = f"LABEL=x{HOSTILE.splitlines()[0]} none swap sw 0 0\n"
    assert (
        in_shell(
            shell, edit.replace('"LABEL=$1"', shell_value(f"LABEL={HOSTILE}")), given, tmp_path
        )
        == f"known\n{given}"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_an_answer_is_json_whatever_is_in_it(shell: list[str], tmp_path: Path) -> None:
    script = render(planned("classic-drop"))[Phase.INSPECT.file_name]
    base = part_of(script, "set -eu", "# -- One at a time").replace("/var/log/", f"{tmp_path}/")
    said = in_shell(
        shell,
        f"{base}\nanswer already {shell_value(HOSTILE)} {shell_value(chr(92) + chr(27) + chr(9))}",
        cwd=tmp_path,
    )
    from growdisk.guest_scripts.answers import parse_answer

    answer = parse_answer(Phase.INSPECT, "run-1", said.encode())
    assert answer.what == HOSTILE.replace("\n", " ")
    assert answer.why == "\\"
    assert [path.name for path in tmp_path.iterdir()] == ["growdisk.log"]


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
    "/swapfile none swap sw 0 0\n/dev/sda5 none swap sw 0 0\n",
    "latin1 caf\udce9 /x ext4\n",
    "",
)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("text", FSTABS)
@pytest.mark.parametrize("policy", [SwapRemedy.DROP, SwapRemedy.FILE])
def test_fstab_is_repaired_as_offline(shell: list[str], text: str, policy: SwapRemedy) -> None:
    size = "0" if policy is SwapRemedy.DROP else "1"
    named = "yes" if "/swapfile" in text else ""
    edit = (
        f"{editors(with_swap(SWAP))}\nswap_file_size={size} file_named={named}\neach_line "
        "fstab_line"
    )
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
    edit = f"{editors(with_data_gone())}\nswap_file_size=0\neach_line fstab_line"
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
    said = in_shell(shell, f"{functions}\nswap_file_size=0\neach_line fstab_line", fstab)
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
    assert in_shell(shell, edit, text) == without_devices(text, IDENTITY)


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
def test_an_initrd_gets_the_same_block_as_offline(shell: list[str]) -> None:
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    maker = part_of(script, "forgetting_5() {", "# forget FILE")
    said = subprocess.run(
        [*shell, "-c", f"{maker}\nforgetting_5"], capture_output=True, check=True
    ).stdout
    assert said == forgetting_block(IDENTITY)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_places_are_looked_for_in_their_folders_whatever_lies_in_the_current_one(
    shell: list[str], tmp_path: Path
) -> None:
    """Debian has /initrd.img, a link, and a script runs in /."""
    script = render(with_swap(SWAP))[Phase.REPAIR.file_name]
    walk = part_of(script, "each_place() {", "# -- Files that name")
    boot = tmp_path / "boot"
    boot.mkdir()
    for file in (
        boot / "initrd.img-6.1",
        boot / "a.img",
        tmp_path / "initrd.img",
        tmp_path / "a.img",
    ):
        file.touch()
    asked = (
        f"set -eu\n{walk}\nshow() {{ echo $2 $1; }}\neach_place '{boot} /nowhere' 'initrd* "
        "*.img' show word"
    )
    found = [line for line in in_shell(shell, asked, cwd=tmp_path).splitlines() if "*" not in line]
    assert found == [f"word {boot}/initrd.img-6.1", f"word {boot}/a.img"]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_an_ext_superblock_is_read_as_our_own_reader_does(shell: list[str], tmp_path: Path) -> None:
    image = tmp_path / "ext4"
    with image.open("wb") as file:
        file.truncate(700 * MiB)
    run("mkfs.ext4", "-q", "-F", "-O", "^resize_inode", image)
    with closing(RawFile.open(image)) as device:
        content = identify(device)
    assert isinstance(content, ExtContent)
    script = render(planned("classic-drop"))[Phase.PREPARE.file_name]
    functions = part_of(script, "piece() {", "# The id of the table") + part_of(
        script, "# Bytes of the file", "\nfind_mount"
    )
    functions = functions.replace("/sys/fs/ext4/features/meta_bg_resize", "/nowhere")
    given = f"set -eu\nfs_kind=ext4 fs_device={image} mount_point=/x fs_new_size=$1\n"
    asked = "fs_size; block_size; if ext_can_follow; then echo it can; else echo $reach; fi\n"
    asked += "if is_grown_enough; then echo grown; else echo not grown; fi"

    def told(wanted: int) -> list[str]:
        return in_shell(shell, f"set -- {wanted}\n{functions}{given}{asked}").splitlines()

    descriptors = content.block_size // content.descriptor_size * 128 * MiB
    sizes = [str(content.size), str(content.block_size)]
    assert told(700 * MiB) == [*sizes, "it can", "grown"]
    assert told(820 * MiB) == [*sizes, "it can", "grown"]  # a last group less than planned
    assert told(descriptors) == [*sizes, "it can", "not grown"]
    assert told(descriptors + MiB) == [*sizes, str(descriptors), "not grown"]
    assert descriptor_blocks_missing(content, descriptors) == 0
    assert descriptor_blocks_missing(content, descriptors + 1) == 1


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"]], ids=lambda shell: shell[0])
@pytest.mark.parametrize("has_flock", [True, False])
def test_what_is_still_at_work_is_waited_for_when_asked_to(
    shell: list[str], has_flock: bool, tmp_path: Path
) -> None:
    base = locking(tmp_path, has_flock=has_flock)
    held = subprocess.Popen(
        [*shell, "-c", f"{base}\necho ready >&3; read -r _; sleep 1; answer already x"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert held.stdin is not None
    assert held.stdout is not None and held.stdout.readline() == b"ready\n"
    refused = subprocess.run([*shell, "-c", f"{base}\nanswer already x"], capture_output=True)
    assert (refused.returncode, b"another growdisk script" in refused.stdout) == (3, True), refused
    patient = subprocess.Popen([*shell, "-c", f"GROWDISK_PATIENCE=60\n{base}\nanswer already x"])
    held.communicate(b"go on\n")
    assert patient.wait() == 0
    assert [path.name for path in (tmp_path / "run").iterdir()] == (
        ["growdisk.flock"] if has_flock else []
    )


def test_a_check_that_ends_at_once_leaves_what_runs_have_saved() -> None:
    folder = "/var/lib/growdisk/20260101-000000-abcd"
    script = render(planned("classic-drop"))[Phase.PREPARE.file_name]
    walls = ["bwrap", "--unshare-user", "--uid", "1000", "--ro-bind", "/", "/"]
    walls += ["--tmpfs", "/var/lib", "--dir", folder, "--dev", "/dev", "--"]
    check = f"GROWDISK_CHECK=yes sh -s; test $? = 3 && test -d {folder}"
    run(*walls, "sh", "-c", check, stdin=script)
