"""Partition tables: values, pure decisions, readers and writers. Sectors live here only."""
