"""Ways into what lies between a partition and its file system:
logical volumes and encrypted containers, read only.
"""
