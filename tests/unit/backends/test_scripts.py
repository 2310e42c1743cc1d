"""Guest-side scripts as texts: deaf to hostile values, and right in what they read."""

from __future__ import annotations

import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import ExtContent
from growdisk.filesystems.ext_growth import size_in_place
from growdisk.filesystems.identify import identify
from growdisk.guest_scripts.render import render, shell_value
from growdisk.guest_scripts.script_plan import Phase
from growdisk.units import MiB
from tests.guests.tools import run
from tests.unit.backends.script_plans import LAYERS, guest_plans, locking, part_of, planned
from tests.unit.backends.shells import SHELLS, SWAP, editors, in_shell, with_swap

HOSTILE = "$(touch pwned)`touch pwned`';touch pwned;'\"|touch pwned\n touch pwned #*"


def test_the_matrix_of_scripts_is_a_large_one() -> None:
    assert len(list(guest_plans())) >= 20


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_hostile_volume_name_stays_one_word(shell: list[str], tmp_path: Path) -> None:
    hostile = tuple(replace(layer, name=f"-{HOSTILE}") for layer in LAYERS)
    script = render(replace(planned("classic-drop"), layers=hostile))[Phase.GROW.file_name]
    action = part_of(script, "logged_lvm() {", "# -- The file system")
    shown = "logged() { printf '<%s>' \"$@\"; }; bytes_of() { echo 0; }; inner_3=/dev/x\n"
    said = in_shell(shell, f"{shown}{action}\ngrow_layer 3 || :", cwd=tmp_path)
    assert said == f"<lvm><lvextend><-l><128><--><-{HOSTILE}>"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("number", [2, 3])
def test_volumes_grow_where_lvm_has_no_room_for_copies_of_its_metadata(
    shell: list[str], number: int
) -> None:
    """On a full root: it refuses to change anything then."""
    script = render(replace(planned("classic-drop"), layers=LAYERS))[Phase.GROW.file_name]
    action = part_of(script, "logged_lvm() {", "# -- The file system")
    lvm = (
        "logged() { case $* in *'backup{backup=0 archive=0}'*) size=$((1 << 30)) ;; *) "
        "return 5 ;; esac; }; bytes_of() { echo $size; }; extents_on() { echo 255; }\n"
    )
    grow = f"set -u\nsize=0 outer_2=/dev/x inner_3=/dev/y\n{lvm}{action}\ngrow_layer {number}"
    assert in_shell(shell, f"{grow} && echo $grown").endswith(
        "255 extents\n" if number == 2 else f"{1 << 30} bytes\n"
    )


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
    assert descriptors <= size_in_place(content)
    assert descriptors + 1 > size_in_place(content)


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


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_disk_in_a_folder_of_dev_is_known_by_the_name_of_the_kernel(shell: list[str]) -> None:
    script = render(planned("classic-drop"))[Phase.INSPECT.file_name]
    names = part_of(script, "part_name() {", "# number_of_sectors")
    chosen = part_of(script, "disk_name=$(kernel_name", "\n    is_ours")
    block = part_of(script, "fs_block=", "\n")
    text = f"""readlink() {{ echo "$2"; }}
    {names}
    GROWDISK_DISK=$0
    {chosen}
    fs_device=$(part_device 2)
    {block}
    echo "$disk_name $fs_device $fs_block"
    """
    for disk, said in {
        "/dev/sda": "sda /dev/sda2 sda2",
        "/dev/nvme0n1": "nvme0n1 /dev/nvme0n1p2 nvme0n1p2",
        "/dev/cciss/c0d0": "cciss!c0d0 /dev/cciss/c0d0p2 cciss!c0d0p2",
    }.items():
        assert in_shell(shell, text.replace("$0", disk)) == f"{said}\n"


@pytest.mark.parametrize(
    ("mounts", "closed"),
    [
        ("/dev/sda1 / ext4 ro 0 0\n", "/"),
        ("/dev/sda1 / ext4 ro 0 0\no /etc overlay rw 0 0\n/dev/sda2 /boot ext4 rw 0 0\n", ""),
        ("/dev/sda1 / ext4 rw 0 0\n/dev/sda2 /boot ext4 ro,a 0 0\n", "/boot"),
        ("/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /sysroot xfs ro 0 0\n", "/sysroot"),
        ("r / rootfs ro 0 0\n/dev/sda1 / ext4 rw 0 0\nx /et x ro 0 0\nx /efi x ro 0 0\n", ""),
    ],
)
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_place_that_cannot_be_written_is_seen_by_the_mount_it_lies_in(
    shell: list[str], tmp_path: Path, mounts: str, closed: str
) -> None:
    (tmp_path / "mounts").write_text(mounts)
    script = render(planned("classic-drop"))[Phase.PREPARE.file_name]
    look = part_of(script, "places='", 'if [ -n "$checking" ]; then')
    look = look.replace(
        '[ ! -d "$place" ]', '[ "${place:-/efi}" = /efi ]'
    )  # whatever this host has
    look = look.replace("/proc/self/mounts", "mounts").replace("/etc/fstab", "fstab")
    target = "/sysroot" if "/sysroot" in mounts else ""
    said = f'mount_point={target}\nanswer() {{ echo "$4"; exit; }}\n{look}\necho writable'
    expected = f"mount -o remount,rw {closed}; or" if closed else "writable"
    assert in_shell(shell, said, cwd=tmp_path).startswith(expected)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_where_one_of_two_swaps_stays_on_the_other_is_on_again(
    shell: list[str], tmp_path: Path
) -> None:
    """A refusal has changed nothing."""
    script = render(planned("two-swaps-file"))[Phase.PREPARE.file_name]
    functions = part_of(script, "swap_off() {", "# -- After a reboot")
    fakes = """
        part_device() { echo /dev/sda$1; }
        swap_line() { ! grep -q "^$1$" on || echo partition 1024 0 5; }
        is_on() { grep -q "^$1$" on; }
        available_kib() { echo 1000000; }
        other_swap_kib() { echo 0; }
        say() { :; }
        logged() {
            case "$*" in
            "swapoff /dev/sda5") grep -v /dev/sda5 on >new; mv new on ;;
            "swapon -p 5 /dev/sda5") echo /dev/sda5 >>on ;;
            *) return 1 ;;
            esac
        }
        answer() { echo "$2"; sort on; exit; }
    """
    (tmp_path / "on").write_text("/dev/sda5\n/dev/sda6\n")
    asked = f"set -eu\nchecking= log=log state=. swap_numbers='5 6'\n{functions}\n{fakes}\nswap_off"
    said = in_shell(shell, asked, cwd=tmp_path)
    assert said == "swap on /dev/sda6 cannot be turned off\n/dev/sda5\n/dev/sda6\n"
