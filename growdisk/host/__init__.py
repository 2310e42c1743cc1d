"""What growdisk needs of the machine that it runs on:
programs started and confined, mounts, clocks, data formats.
"""
