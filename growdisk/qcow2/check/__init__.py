"""The checker of qcow2 images.

It shares header, entries and features with the writer, and no arithmetic.
"""
