"""Playbooks: what tasks there are and what they do (specs,
perform), and how a file of plays is read and run.
"""
