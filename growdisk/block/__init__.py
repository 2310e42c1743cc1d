"""Sized random-access bytes:
the device protocol, host files, windows, QEMU's file locks, the NBD export.
"""
