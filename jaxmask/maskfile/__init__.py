"""Mask files (`.mask`): what a task needs beside its base network, whole or not there at all.

`format` has the bytes, `header` what they say of themselves, `codec` and `entropy` how they are
made fewer; `file` reads and writes; `compare` finds files and tells what they have in common.
"""

from jaxmask.maskfile.file import Base, MaskFile, fingerprint, load, read, read_header, save

__all__ = ["Base", "MaskFile", "fingerprint", "load", "read", "read_header", "save"]
