"""Samples: inputs to test an operator with, as streams by seed and as files.

streams.py  OpInfo's samples and what is made of them   keys.py   structure keys
layouts.py  other strides, same values                  shapes.py  other sizes
forms.py    tensors that are given to be written
values.py   arguments as JSON and bytes                 file.py, build.py  the file of `--data`
"""

from models.kernels.samples.file import (
    Fill,
    SampleRecord,
    TensorRecord,
    read_samples,
    write_samples,
)
from models.kernels.samples.keys import structure_key
from models.kernels.samples.streams import UNSEEN_DTYPES, Form, Suite, default_dtypes, stream

__all__ = [
    "UNSEEN_DTYPES",
    "Fill",
    "Form",
    "SampleRecord",
    "Suite",
    "TensorRecord",
    "default_dtypes",
    "read_samples",
    "stream",
    "structure_key",
    "write_samples",
]
