"""A guest of vagrant's to try growdisk on: the box, and the trial that grows it while it runs."""
