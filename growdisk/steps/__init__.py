"""The steps of a run, one file each; what they act through; the snapshot stores."""
