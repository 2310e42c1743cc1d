"""The host's storage below a block device:
what it is, whether it can grow, and the commands that grow it.

One file a kind; look.py finds the kind, growing.py makes it larger, and as large as it was.
"""
