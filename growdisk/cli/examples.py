"""Examples of each command: shown at the end of its --help and in its man page.

A test parses every one of them.
"""

from __future__ import annotations

Examples = tuple[tuple[str, str], ...]
"""Pairs of a command line and what it does."""

_TEXT = """\
growdisk:
    growdisk show guest.qcow2  # what is on the disk, and what blocks its growth
    growdisk plan guest.qcow2 +10G  # what expand would do; touches nothing
    growdisk expand guest.qcow2 +10G  # does it
growdisk expand:
    growdisk expand guest.qcow2 +10G  # grow by 10 GiB; swap in the way is removed
    growdisk expand guest.qcow2 40G --swap move  # grow to 40 GiB and keep the swap partition
    growdisk expand guest.qcow2 +10G --lv vg0/home --key-file key  # a volume in LVM in LUKS
    growdisk expand -d web01 +10G  # a running guest of libvirt
    growdisk expand -d web01 +10G --when-used 85% --max-size 200G  # only if it is fuller than that
growdisk plan:
    growdisk plan guest.qcow2 +10G  # the disk before and after, and the steps
    growdisk plan guest.qcow2 +10G --move 3  # with another partition moved out of the way
    growdisk plan guest.qcow2 +10G --json  # the same for scripts
growdisk show:
    growdisk show guest.qcow2  # partitions, what is in them, what blocks growth
    growdisk show -d web01  # the disk of a machine of libvirt
    growdisk show guest.qcow2 --key-file key --json  # what is inside LUKS too, for scripts
growdisk list:
    growdisk list images/  # the images of a folder, a line each
    growdisk list --all-domains --sort fullness  # all machines of libvirt, the fullest first
    growdisk list images/ --html disks.html  # one page for a browser
    growdisk list 'images/*.qcow2' -d 'web*' --above 85% --json
        # what is fuller than that, for scripts
growdisk watch:
    growdisk watch rules.yml --dry-run  # what the rules would do now
    growdisk watch rules.yml  # one round: who is too full grows
    growdisk watch rules.yml --metrics growdisk.prom
        # with metrics for Prometheus' textfile collector
growdisk status:
    growdisk status guest.qcow2  # unfinished, kept, done, or none
    growdisk status -d web01  # by the name of the machine
    growdisk status guest.qcow2 --json  # for a monitor
growdisk resume:
    growdisk resume guest.qcow2  # finish a run that was cut short
    growdisk resume -d web01  # of a running guest
    growdisk resume guest.qcow2 --json  # for scripts
growdisk rollback:
    growdisk rollback guest.qcow2  # all the way back
    growdisk rollback guest.qcow2 --to grow-filesystem  # undo it and the steps after it
    growdisk rollback -d web01  # of a running guest
growdisk commit:
    growdisk commit guest.qcow2  # after expand --keep-snapshots: forget the way back
    growdisk commit -d web01  # by the name of the machine
    growdisk commit guest.qcow2 --json  # for scripts
growdisk script:
    growdisk script guest.qcow2 +10G -o scripts  # scripts and a README to carry over by hand
    growdisk script -d web01 +10G -o scripts  # for a machine of libvirt
    growdisk script guest.qcow2 +10G -o scripts --swap file
        # with a swap file instead of the partition
growdisk run:
    growdisk run expand-root -e target='images/*.qcow2' -e size=+10G -j 4
        # many images, four at once
    growdisk run expand-root -i inventory.yml -l 'web*' --check --diff
        # write nothing, show each disk
    growdisk run mine.yml --resume  # go on where the machine died
growdisk provision:
    growdisk provision base.qcow2 web.qcow2 --size 40G --overlay --hostname web
        # one image on top of a base
    growdisk provision base.qcow2 'web-{n:02}.qcow2' --count 8 -j 4 --size 20G
        # eight images, four at once
    growdisk provision base.qcow2 --recipe web.yml --list guests.csv  # as a recipe says
growdisk collection:
    growdisk collection install  # into ~/.ansible/collections
    growdisk collection install -p /usr/share/ansible/collections  # for all users
growdisk doctor:
    growdisk doctor  # tries all that growdisk uses
    growdisk doctor --quick  # does not start the appliance
    growdisk doctor --json  # for scripts
growdisk completion:
    growdisk completion bash > /etc/bash_completion.d/growdisk  # for all users of bash
    growdisk completion zsh > ~/.zfunc/_growdisk  # for zsh, with that folder in fpath
    growdisk completion fish > ~/.config/fish/completions/growdisk.fish  # for fish
growdisk image:
    growdisk image info guest.qcow2  # format, sizes, snapshots
    growdisk image convert guest.raw guest.qcow2  # a raw image as qcow2
    growdisk image check guest.qcow2  # is it sound?
growdisk image info:
    growdisk image info guest.qcow2  # format, sizes, snapshots
    growdisk image info -U guest.qcow2  # also while a guest writes to it
    growdisk image info guest.qcow2 --json  # the keys of qemu-img info
growdisk image map:
    growdisk image map overlay.qcow2  # which layer holds which bytes
    growdisk image map guest.qcow2 --json  # the records of qemu-img map
    growdisk image map guest.raw  # data and holes of a raw image
growdisk image check:
    growdisk image check guest.qcow2  # exit code: 0 sound, 1 not checked, 2 corrupt, 3 leaks
    growdisk image check guest.qcow2 -r leaks  # give leaked clusters back
    growdisk image check guest.qcow2 -r all  # repair all that can be repaired
growdisk image compare:
    growdisk image compare a.qcow2 b.raw  # exit code: 0 the same guest bytes, 1 different
    growdisk image compare -s a.qcow2 b.qcow2  # and the same size
    growdisk image compare -f raw a b.qcow2  # A is raw, whatever it looks like
growdisk image create:
    growdisk image create guest.qcow2 40G  # an empty qcow2 image
    growdisk image create overlay.qcow2 -b base.qcow2 -F qcow2  # on top of another image
    growdisk image create guest.qcow2 40G -o cluster_size=128k,lazy_refcounts=on
        # with options of qcow2
growdisk image resize:
    growdisk image resize guest.qcow2 +10G  # the image alone; growdisk expand does the whole job
    growdisk image resize guest.qcow2 20G --shrink  # cut the end off
    growdisk image resize guest.raw +10G --preallocation falloc
        # take the space on the host at once
growdisk image snapshot:
    growdisk image snapshot create guest.qcow2 before-upgrade  # take an internal snapshot
    growdisk image snapshot list guest.qcow2  # list them
    growdisk image snapshot apply guest.qcow2 before-upgrade  # go back to one
growdisk image convert:
    growdisk image convert guest.qcow2 guest.raw  # the name decides the format
    growdisk image convert -c --compression zstd guest.qcow2 small.qcow2  # compressed
    growdisk image convert -l before-upgrade guest.qcow2 old.qcow2  # an internal snapshot
growdisk image copy:
    growdisk image copy guest.raw copy.raw  # with its holes
    growdisk image copy guest.raw copy.raw --sparse always  # holes for all zeros
    growdisk image copy guest.raw copy.raw --sparse never  # no holes
growdisk image overlay:
    growdisk image overlay base.qcow2 overlay.qcow2
        # an external snapshot: writes go to overlay.qcow2
    growdisk image overlay base.raw overlay.qcow2 --json  # for scripts
growdisk image commit:
    growdisk image commit overlay.qcow2  # its data into its backing file
    growdisk image commit overlay.qcow2 --key-file key  # of an encrypted image
growdisk image rebase:
    growdisk image rebase overlay.qcow2 -b new-base.qcow2  # the guest sees the same on another base
    growdisk image rebase overlay.qcow2  # no base at all: the overlay stands alone
    growdisk image rebase overlay.qcow2 -u -b moved/base.qcow2  # the same base in another place
growdisk image compact:
    growdisk image compact guest.qcow2  # give unused clusters back to the host
    growdisk image compact guest.qcow2 --json  # for scripts
growdisk image read:
    growdisk image read guest.qcow2 0 512b boot-sector  # the first 512 bytes of the disk
    growdisk image read guest.qcow2 1M 64k part  # 64 KiB from 1 MiB on
growdisk image write:
    growdisk image write guest.qcow2 0 boot-sector  # the file onto the first bytes of the disk
    growdisk image write guest.qcow2 1M part  # from 1 MiB on
"""


def _examples() -> dict[str, Examples]:
    found: dict[str, Examples] = {}
    prog = ""
    # What an example does may stand in a line of its own below it.
    for line in _TEXT.replace("\n        # ", "  # ").splitlines():
        if line.startswith(" "):
            command, _, what = line.strip().partition("  # ")
            found[prog] = (*found.get(prog, ()), (command, what))
        else:
            prog = line.removesuffix(":")
    return found


EXAMPLES = _examples()


def examples_text(prog: str) -> str:
    """The examples of a command as its help shows them; empty if it has none."""
    lines = [f"  {command}\n      {what}" for command, what in EXAMPLES.get(prog, ())]
    return "\n".join(["examples:", *lines]) if lines else ""
