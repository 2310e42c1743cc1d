"""Many disks at a glance: which there are, how full, what prevents their growth."""
