"""Partition tables: values and pure decisions, our own readers, rewriting through libparted.

Sectors live here only.
"""
