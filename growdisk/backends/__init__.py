"""Who works on the file systems of a disk at rest: this machine's tools, or an appliance."""
