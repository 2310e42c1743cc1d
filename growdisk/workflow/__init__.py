"""The workflow engine: runs steps, each after a snapshot, journals decisions, survives crashes.

It knows no disk: steps, snapshot stores and contexts come from the floors above.
"""
