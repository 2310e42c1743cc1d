"""The systems that lie on a disk, found and searched by reading, without a mount."""
