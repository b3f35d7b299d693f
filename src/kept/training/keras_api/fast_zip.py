"""The standard library's zipfile, with a faster checksum.

The members of a .keras file are not compressed, so the CRC-32 takes nearly all of the processor
time of writing one. Python's own reads 1.6 GB/s, Intel's ISA-L 7.3 (measured; saving 300 MB then
takes 0.55 seconds of processor time instead of 0.65).

zipfile has no option for it. So this is a second copy of that module in which the name crc32 is
replaced; the module that others import does not change. If a zipfile calls its checksum in another
way, this copy is slower and still correct.
"""

from __future__ import annotations

import importlib.util
import zipfile as _standard
from typing import Any

from isal.isal_zlib import crc32

# Any: to type checkers it is another module than zipfile.
zipfile: Any = importlib.util.module_from_spec(_standard.__spec__)
_standard.__spec__.loader.exec_module(zipfile)  # type: ignore[union-attr]
zipfile.crc32 = crc32
