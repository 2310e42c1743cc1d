"""growdisk: grow a virtual machine's disk in place, safely, with a way back from every step."""

__version__ = "0.1.0"
