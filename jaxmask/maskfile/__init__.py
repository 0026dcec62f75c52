"""Mask files (`.mask`): what a task needs besides its base network, written atomically.

`format` has the bytes, `header` their metadata, `codec` and `entropy` the compression; `file`
reads and writes; `compare` finds files and compares their masks.
"""

from jaxmask.maskfile.file import Base, MaskFile, fingerprint, load, read, read_header, save

__all__ = ["Base", "MaskFile", "fingerprint", "load", "read", "read_header", "save"]
