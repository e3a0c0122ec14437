"""The C++ part: attention and element-wise steps, built once per machine and loaded by ctypes.

`bfloat16.h`, `levels.h` number types and instruction sets; `attention.h` what the parts of the
attention share; `tiles.cpp` scores and values of a tile of rows; `prefix_attention.cpp` which
rows meet which keys; `file_rows.cpp` rotary embedding and the KV layout; `elementwise.cpp`
norms, gates, embedding and the likeliest token; `build.py` builds and loads.
"""
