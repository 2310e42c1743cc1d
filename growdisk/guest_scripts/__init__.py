"""The scripts that grow a disk from inside its running guest:
planned, rendered, and their answers read.
"""
