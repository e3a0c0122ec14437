"""Compiles of a layout without its chips: virtual CPU devices, or the TPU compiler where installed.

launch.py   one process per compile, watched    child.py    what that process does
request.py  what is asked, with a key           shrink.py   large slices compiled small
result.py   what a compile said                 cache.py    what is remembered
profile.py  its text as a Profile                 parent.py  ends and cleans up with the asker
"""

from models.sharding.compile.launch import compile_layout
from models.sharding.compile.profile import profile_of
from models.sharding.compile.result import Compiled

__all__ = ["Compiled", "compile_layout", "profile_of"]
