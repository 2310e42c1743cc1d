"""What each task does, by growdisk.api:
one function a task, in files by what they have to do with.
"""
