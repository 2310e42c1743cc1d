"""Guests to try growdisk on:
a real Debian (classic.py), and quick disks without an operating system (small.py).
"""
