"""What must change in a guest's files when a partition is gone: pure functions on contents."""
