"""The verbs of `growdisk image`, one file each."""
