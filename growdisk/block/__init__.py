"""Sized random-access bytes: device protocol, host files, windows, QEMU's locks, NBD and FUSE."""
