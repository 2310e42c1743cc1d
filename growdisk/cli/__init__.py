"""The command line: parser, one file per verb, and how results are shown."""
