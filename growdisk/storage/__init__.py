"""The host's storage below a block device: what it is, whether and how it can grow.

One file a kind; device.py finds the kind, makes it larger, and restores its old size.
"""
