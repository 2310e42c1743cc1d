"""Random disks, grown as planned, and judged by everybody but growdisk: `make fuzz-disks`.

A seed makes a recipe (recipe.py), the recipe a disk (making.py); then plan and expand are asked,
and what they did is held against what they said, by foreign tools and byte for byte (judging.py).
trial.py is one seed from end to end.
"""
