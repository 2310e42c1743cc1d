"""One round over many disks by rules: those that are too full grow."""
