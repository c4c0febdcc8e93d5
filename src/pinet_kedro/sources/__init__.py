"""The files of raw data: on this machine, or behind an address, from which they are copied before they are read."""
