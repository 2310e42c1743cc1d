"""What `growdisk image` does, for programs: one file per action, loaded when it is asked for."""
