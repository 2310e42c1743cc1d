"""What `growdisk image` does, for programs: one file per deed, loaded when it is asked for."""
