"""What the modules say of options that several of them have, and of check mode and diff."""

from __future__ import annotations


class ModuleDocFragment:
    IMAGE = r"""
options:
  image:
    description:
      - The image file.
    type: path
    required: true
  format:
    description:
      - The image's format; probed if left out.
      - A probe never takes an image for raw because its header is damaged.
    type: str
    choices: [qcow2, raw]
"""

    MACHINE = r"""
options:
  image:
    description:
      - The image file; a running guest may be named by domain or qmp instead.
    type: path
  format:
    description:
      - The image's format; probed if left out.
      - A probe never takes an image for raw because its header is damaged.
    type: str
    choices: [qcow2, raw]
  domain:
    description:
      - A machine of libvirt, running or not.
    type: str
  connect:
    description:
      - The URI of libvirt; its own choice if left out.
    type: str
  disk:
    description:
      - "Which disk of the machine: vda, or QEMU's id."
    type: str
  qmp:
    description:
      - The socket of a running guest's monitor (QEMU's -qmp).
    type: path
  online:
    description:
      - How to work inside a running guest; by ssh if that is given, else by its guest agent.
    type: str
    default: auto
    choices: [auto, agent, ssh]
  ssh:
    description:
      - "How ssh reaches the guest: user@host, as root or with sudo."
    type: str
  ssh_config:
    description:
      - A configuration file for ssh, as of vagrant ssh-config.
    type: path
  agent:
    description:
      - The socket of the guest agent; found if left out.
    type: path
  guest_disk:
    description:
      - The disk as the guest names it, such as /dev/vda.
    type: str
  allow_reboot:
    description:
      - The guest may restart once, where its disk controller asks for it.
    type: bool
    default: false
"""

    TABLE = r"""
options:
  partition:
    description:
      - "Which partition grows: a number, or a name such as /dev/sda1; the largest if left out."
    type: str
    default: auto
  grow:
    description:
      - "Several partitions with a share of the space each: sda1=60%, sda3=+5G, sda3=rest."
    type: list
    elements: str
  swap:
    description:
      - What becomes of swap that stands in the way; by default drop if the guest's files can be changed, else move.
      - C(drop) gives its space to what grows, C(move) makes it again at the end of the disk, C(file) makes a swap
        file of the same size in the guest.
      - The guest is repaired, so that its next boot neither fails nor waits.
    type: str
    choices: [drop, move, file]
  move:
    description:
      - Numbers of partitions that may be copied to the end of the disk.
      - All that is in them is compared before the new table is written.
    type: list
    elements: int
  delete:
    description:
      - Numbers of partitions that may be given up.
      - What is in them is lost.
    type: list
    elements: int
  to_gpt:
    description:
      - An MBR may become a GPT, on a disk that nothing starts from.
      - Beyond 2 TiB it has to; what starts a guest is a reason to refuse it.
    type: bool
    default: false
  guest_repair:
    description:
      - Bring the guest's own files in line with what is gone.
      - Without it, what names a partition that is gone is left to the user, and said.
    type: bool
    default: true
  sector_size:
    description:
      - "The disk's logical sectors, which no image records: 512 or 4096."
    type: int
    default: 512
"""

    VOLUMES = r"""
options:
  lv:
    description:
      - "Which logical volumes grow, and by what of the free space: vg/root, vg/home=60%."
    type: list
    elements: str
  lv_share:
    description:
      - Grow into this percentage of what is free in the volume group, such as 60%.
    type: str
"""

    KEYS = r"""
options:
  key_file:
    description:
      - Files with a passphrase of what is encrypted in the guest.
      - All bytes of a file count; if they open nothing in the guest, those before a line break at its end.
      - Each encrypted container takes the one that opens it.
    type: list
    elements: path
"""

    SIZE = r"""
options:
  size:
    description:
      - "+10G grows by, 40G grows to; if left out, every layer grows into the unused space around it."
      - The letters b k M G T P E are powers of 1024; C(10GB) and a bare number are refused.
      - C(+10G) grows in every run; with C(40G), or without a size, a second run changes nothing.
    type: str
"""

    RULE = r"""
options:
  when_used:
    description:
      - Grow only if the file system that would grow is fuller than that, such as 85%.
      - Of a running guest its own C(df) is asked. Where it is not so full, nothing is changed.
    type: str
  max_size:
    description:
      - Never let the disk become larger than that, such as 200G.
    type: str
  min_interval:
    description:
      - "Grow only if it last grew that long ago: 90s, 15m, 1h, 2d."
    type: str
  keep_host_free:
    description:
      - Refuse if less than this percentage of the host's room were left once the new space is filled, such as 10%.
    type: str
"""

    PREALLOCATION = r"""
options:
  preallocation:
    description:
      - Take the new space on the host at once; expand does so for raw image files alone, by falloc.
    type: str
    default: "off"
    choices: ["off", metadata, falloc, full]
"""

    PLACE = r"""
options:
  partition:
    description:
      - "Which partition grows: a number, or a name such as /dev/sda1; the largest if left out."
    type: str
    default: auto
  sector_size:
    description:
      - "The disk's logical sectors, which no image records: 512 or 4096."
    type: int
    default: 512
"""

    WAY = r"""
options:
  backend:
    description:
      - Who works on the guest's file systems.
      - C(direct) uses the tools of this machine, C(uml) a kernel that runs as a program.
      - C(guestfs) uses the libguestfs appliance.
    type: str
    default: auto
    choices: [auto, guestfs, uml, direct]
  snapshots:
    description:
      - How each step can be undone.
      - C(internal) is for qcow2 version 3, C(overlay) for raw and version 2; C(auto) chooses.
      - With C(none) there is no way back.
    type: str
    default: auto
    choices: [auto, internal, overlay, none]
  overlays_may_break:
    description:
      - "Go on although other images lie on this one (overlays): it spoils them."
    type: bool
    default: false
  not_in_use:
    description:
      - "Your word that nobody uses the device, where growdisk, without root, cannot look."
    type: bool
    default: false
"""

    OVERLAYS = r"""
options:
  overlays_may_break:
    description:
      - "Go on although other images lie on this one (overlays): it spoils them."
    type: bool
    default: false
"""

    NOT_IN_USE = r"""
options:
  not_in_use:
    description:
      - "Your word that nobody uses the device, where growdisk, without root, cannot look."
    type: bool
    default: false
"""

    KEEP = r"""
options:
  keep_snapshots:
    description:
      - "Keep the way back: growdisk rollback takes it, commit forgets it."
    type: bool
    default: false
"""

    WRITING = r"""
attributes:
  check_mode:
    support: full
    description: Reads all that the change would need, and says what it would be; nothing is written.
  diff_mode:
    support: full
    description: The partition table with what is in it, before and after.
"""

    CHECKED = r"""
attributes:
  check_mode:
    support: full
    description: Says what would be changed; nothing is written.
  diff_mode:
    support: none
    description: What changes is not a partition table; the result says what it is.
"""

    LOOKING = r"""
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
"""
