"""Playbooks: the tasks (specs, perform), and how a file of plays is read and run."""
