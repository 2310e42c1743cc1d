"""The ways to a machine that runs: QEMU's monitor, libvirt, the guest agent, ssh."""
