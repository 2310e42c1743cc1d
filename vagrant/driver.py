"""The Vagrantfile's libvirt driver: kvm if KVM really works, else qemu (emulation)."""

from __future__ import annotations

from growdisk.host.kvm import accelerator


def driver() -> str:
    return "kvm" if accelerator().has_kvm else "qemu"


if __name__ == "__main__":
    print(driver())
