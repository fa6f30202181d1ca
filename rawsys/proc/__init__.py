"""What the kernel tells of processes: their memory, descriptors, signals, credentials, all of them at once; and pictures."""

from rawsys.proc.space import *
