"""What growing a partition takes inside it: a file per kind of content, each pure."""
