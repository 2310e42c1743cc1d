"""Reads logical volumes and encrypted containers: what is between partition and file system."""
