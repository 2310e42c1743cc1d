"""What stands in a partition: a fact sheet and a superblock reader for each kind. Runs nothing."""
