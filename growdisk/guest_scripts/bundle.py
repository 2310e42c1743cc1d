"""The scripts as files to copy into a guest: with a README, and cloud-init's user-data. Pure."""

from __future__ import annotations

import base64
import gzip
import io
import lzma
import tarfile
from collections.abc import Mapping

from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import DRIVER, RUN_ORDER, STATE_FOLDER, GuestPlan, Phase
from growdisk.partitions.table import PartitionTable
from growdisk.units import format_size

USER_DATA = "user-data"
README = "README.md"
SMALL_CLOUD = 16 << 10
"""Bytes of user-data that every cloud takes."""
_GZIPPED = f"is given the output of `gzip -9c {USER_DATA}`, which cloud-init reads just as well"
_TOO_LARGE = (
    f"does not take this one, even by `gzip -9c {USER_DATA}`: run the scripts by hand there"
)
_KEY = """
`GROWDISK_KEY_FILE=FILE` holds the passphrase of the encrypted container, which LUKS2 asks for once more to grow."""  # noqa: E501
_KEYLESS = """\
It brings no passphrase, and LUKS2 asks for one: there it is refused, and the scripts are run by hand.
"""  # noqa: E501
_EACH_BOOT = "/var/lib/cloud/scripts/per-boot"

_WORK_OF = {
    Phase.INSPECT: "looks, and changes nothing",
    Phase.PREPARE: (
        "checks everything, saves the table and the swap headers, turns off swap that "
        "stands in the way"
    ),
    Phase.REWRITE: "writes the new table",
    Phase.REREAD: "makes the running kernel see it, or says that the guest has to be restarted",
    Phase.GROW: (
        "grows what is in the partition (container, volumes, file system), in use: the "
        "point of no return"
    ),
    Phase.REPAIR: "swap again where it stays; fstab, RESUME and initrd forget swap that is gone",
    Phase.VERIFY: "reads all of it back",
    Phase.UNDO: (
        "the old table, in the kernel too, and swap on again; refused once the file "
        "system has grown"
    ),
}


def package(plan: GuestPlan, gives_up: tuple[str, ...] = ()) -> dict[str, str]:
    """File name → text: the scripts, README.md and user-data.

    `gives_up`: what the plan takes from the guest.
    """
    user_data = _user_data(plan, render(plan, comments=False))
    # gzip -9c keeps the file's name, with a zero after it.
    packed = len(gzip.compress(user_data.encode(), 9)) + len(USER_DATA) + 1
    readme = _readme(plan, gives_up, fits=packed <= SMALL_CLOUD)
    return {**render(plan), README: readme, USER_DATA: user_data}


def _readme(plan: GuestPlan, gives_up: tuple[str, ...], *, fits: bool) -> str:
    size = plan.after.disk_size
    phases = "\n".join(
        f"| {number} | `{p.file_name}` | {_WORK_OF[p]} |"
        for number, p in enumerate(RUN_ORDER, start=1)
    )
    lost = "".join(f"\nGiven up: {item}.\n" for item in gives_up)
    disk, subject = f"table `{plan.before.disk_id}`", f"Partition {plan.target}"
    if plan.is_whole_disk:
        disk = f"the one that is all `{plan.content_kind}` `{plan.before.disk_id}`"
        subject = "What is on the whole disk"
    encrypted = any(layer.kind == "luks" for layer in plan.layers)
    return f"""\
# Growing a disk from inside its guest

Made by growdisk for one disk: {disk}, run `{plan.run}`. With any other disk the scripts refuse.
{subject} ({plan.filesystem.kind}) grows to {format_size(plan.goal.size)}, without a restart where the
kernel allows it.

    before   {_drawn(plan.before)}
    after    {_drawn(plan.after)}
{lost}
## What to do

1. Make the disk itself {size} bytes large ({format_size(size)}), on the host; not by `qemu-img resize` while it runs:
   - libvirt: `virsh blockresize GUEST DISK {size}B`
   - QEMU: `{{"execute": "block_resize", "arguments": {{"node-name": "NODE", "size": {size}}}}}` on its QMP socket
   - a cloud: its console. Both of the first also *shrink* a disk without a word: mind the number.
2. Copy this folder into the guest.
3. In the guest, as root (or with sudo): `sh {DRIVER}`

It ends in one line of JSON. Whatever happens (a power cut, a lost connection): run it again, it goes on from where
things are. When it says that the guest has to be restarted, restart it; the rest then comes by itself, if it said so,
or by running it again.

| exit status | means |
|---|---|
| 0 | done, or nothing left to do |
| 3 | refused; this phase changed nothing |
| 4 | failed, and put back what it had begun |
| 5 | a person is needed; the message says where what was saved is |
| 10 | restart the guest |

Back to before, until the file system has grown: `sh {DRIVER} --undo`

## One by one

| | script | does |
|---|---|---|
{phases}
| | `{Phase.UNDO.file_name}` | {_WORK_OF[Phase.UNDO]} |

Each may be run by itself and again. All is written down in `/var/log/growdisk.log`; what was saved is in
`{STATE_FOLDER}/{plan.run}`. `GROWDISK_DISK=/dev/sdb` names the disk where several look alike, and
`GROWDISK_TOOL=parted` the tool that writes the table (else sfdisk, parted or fdisk, whichever is there).{_KEY if encrypted else ""}

## By cloud-init

`{USER_DATA}` does steps 2 and 3 at an instance's first boot, when the disk has its new size already, and tells
cloud-init's growpart to keep out. Where the power is cut it goes on at the next boot, and after a restart where the
disk was too small still; `cloud-init status --long` and `/var/log/cloud-init-output.log` say what failed. A cloud that
takes 16 KiB only {_GZIPPED if fits else _TOO_LARGE}.
{_KEYLESS if encrypted else ""}"""  # noqa: E501  the lines of a page for people


def _drawn(table: PartitionTable) -> str:
    parts = sorted(table.partitions, key=lambda part: (part.start, part.number))
    return " | ".join(f"{part.number}: {format_size(part.size)}" for part in parts)


def _user_data(plan: GuestPlan, scripts: Mapping[str, str]) -> str:
    """cloud-init's user-data with the scripts as one archive: some clouds take only 16 KiB."""
    # Compressed together they are small. Not by runcmd, which cloud-init starts once an instance.
    # It runs at each boot until it ends once; some guests have no xz.
    folder = f"{STATE_FOLDER}/{plan.run}/scripts"
    archive = base64.b64encode(_archive(scripts)).decode()
    return f"""\
#cloud-config
growpart:
  mode: "off"
  ignore_growroot_disabled: true
resize_rootfs: false
write_files:
  - path: {folder}.tar.xz
    permissions: "0600"
    encoding: b64
    content: {archive}
  - path: {_EACH_BOOT}/growdisk-{plan.run}
    permissions: "0700"
    content: |
      #!/bin/sh
      set -eu
      mkdir -p {folder}
      cd {folder}
      tar -xJf ../scripts.tar.xz ||
          python3 -c 'import tarfile; tarfile.open("../scripts.tar.xz").extractall()'
      status=0
      sh ./{DRIVER} || status=$?
      rm -f "$0"
      exit "$status"
"""


def _archive(scripts: Mapping[str, str]) -> bytes:
    """The same bytes for the same scripts: no times."""
    # Their common part is further back than gzip looks; the longest script, which has it, is first.
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, script in sorted(scripts.items(), key=lambda item: (-len(item[1]), item[0])):
            member = tarfile.TarInfo(name)
            data = script.encode("utf-8", "surrogateescape")
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    # Text is aligned to nothing (pb).
    for_text = {"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, "pb": 0}
    return lzma.compress(plain.getvalue(), check=lzma.CHECK_CRC32, filters=[for_text])
