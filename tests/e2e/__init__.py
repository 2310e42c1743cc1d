"""The whole program on whole guests, booted afterwards."""
