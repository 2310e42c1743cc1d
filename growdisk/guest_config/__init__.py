"""What must change in a guest's files when its swap partition is gone:
pure functions on file contents.
"""
