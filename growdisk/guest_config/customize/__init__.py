"""What is changed inside a guest before its first boot: names, keys, accounts, files."""
