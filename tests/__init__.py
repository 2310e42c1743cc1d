"""Everything that judges growdisk, with real parts; see README.md for what lies where."""
