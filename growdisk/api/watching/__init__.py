"""One round over many disks by rules: who is too full grows."""
