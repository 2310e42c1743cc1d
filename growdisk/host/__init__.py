"""What growdisk needs of its machine: programs, their confinement, mounts, clock, data formats."""
