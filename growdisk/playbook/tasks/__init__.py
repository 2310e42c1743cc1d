"""What each task does, by growdisk.api: a function a task, in files by subject."""
