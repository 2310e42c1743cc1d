"""The workflow engine: runs steps behind snapshots,
journals every decision, goes on or back after a crash.

It knows no disk: steps, snapshot stores and contexts come from the floors above.
"""
