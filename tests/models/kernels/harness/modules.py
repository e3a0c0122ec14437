"""Hand-written honest modules, short and general enough to pass their operators' public samples."""

ADD = """
@triton.jit
def kernel_add(x, y, o, alpha, n, s0, s1, s2, s3, a0, a1, a2, a3, b0, b1, b2, b3,
               W: tl.constexpr, BOOL: tl.constexpr, B: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    m = i < n
    i3 = i % s3
    i2 = (i // s3) % s2
    i1 = (i // (s3 * s2)) % s1
    i0 = i // (s3 * s2 * s1)
    x_value = tl.load(x + i0 * a0 + i1 * a1 + i2 * a2 + i3 * a3, m)
    y_value = tl.load(y + i0 * b0 + i1 * b1 + i2 * b2 + i3 * b3, m)
    if BOOL:
        tl.store(o + i, x_value | y_value, m)
    else:
        tl.store(o + i, x_value.to(W) + y_value.to(W) * alpha, m)

@triton.jit
def kernel_fill(o, value):
    tl.store(o, value)

def scalar(value, dtype):
    out = torch.empty((), dtype=dtype)
    kernel_fill[(1,)](out, value)
    return out

def wrapper(input, other, *, alpha=1):
    dtype = torch.result_type(input, other)
    if not isinstance(other, torch.Tensor):
        other = scalar(other, dtype)
    if not isinstance(input, torch.Tensor):
        input = scalar(input, dtype)
    shape = torch.broadcast_shapes(input.shape, other.shape)
    out = torch.empty(shape, dtype=dtype)
    x = input.expand(shape)
    y = other.expand(shape)
    rest = 4 - len(shape)
    sizes = (1,) * rest + tuple(shape)
    wide = {torch.float64: tl.float64, torch.int64: tl.int64}.get(dtype, tl.float32)
    if not dtype.is_floating_point:
        wide = tl.int64
    n = out.numel()
    zeros = (0,) * rest
    kernel_add[(triton.cdiv(n, 4096),)](x, y, out, alpha, n, *sizes, *zeros, *x.stride(), *zeros,
                                        *y.stride(), W=wide, BOOL=dtype == torch.bool, B=4096)
    return out
"""

EXP = """
@triton.jit
def kernel_exp(x, o, n, s0, s1, a0, a1, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    m = i < n
    value = tl.load(x + (i // s1) * a0 + (i % s1) * a1, m).to(tl.float32)
    tl.store(o + i, tl.exp(value), m)

def wrapper(input):
    dtype = input.dtype if input.is_floating_point() else torch.float32
    out = torch.empty(input.shape, dtype=dtype)
    n = out.numel()
    x = input if input.ndim == 2 else input.reshape(1, -1)
    kernel_exp[(triton.cdiv(n, 1024),)](x, out, n, *x.shape, *x.stride(), B=1024)
    return out
"""

ROWS = """
@triton.jit
def kernel_rows(x, o, n, K: tl.constexpr, R: tl.constexpr):
    r = tl.program_id(0) * R + tl.arange(0, R)
    k = tl.arange(0, K)
    value = tl.load(x + r[:, None] * n + k[None, :], k[None, :] < n, 0)
    tl.store(o + r, tl.sum(value.to(tl.float32), 1))

def wrapper(input, dim=None, keepdim=False, dtype=None):
    out = torch.empty(input.shape[:-1], dtype=input.dtype)
    n = input.shape[-1]
    kernel_rows[(out.numel(),)](input, out, n, K=triton.next_power_of_2(n), R=1)
    return out
"""

MATMUL = """
@triton.jit
def kernel_mm(a, b, o, M, N, K, am, ak, bk, bn, T: tl.constexpr, D: tl.constexpr):
    m = tl.program_id(0) * T + tl.arange(0, T)
    n = tl.program_id(1) * T + tl.arange(0, T)
    total = tl.zeros((T, T), D)
    for start in range(0, K, T):
        k = start + tl.arange(0, T)
        x = tl.load(a + m[:, None] * am + k[None, :] * ak, (m[:, None] < M) & (k[None, :] < K), 0)
        y = tl.load(b + k[:, None] * bk + n[None, :] * bn, (k[:, None] < K) & (n[None, :] < N), 0)
        if D == tl.float32:
            total = tl.dot(x.to(D), y.to(D), total, input_precision="ieee")
        else:
            total += tl.sum(x.to(D)[:, :, None] * y.to(D)[None, :, :], 1)
    tl.store(o + m[:, None] * N + n[None, :], total, (m[:, None] < M) & (n[None, :] < N))

def wrapper(input, mat2):
    M, K = input.shape
    N = mat2.shape[1]
    out = torch.empty((M, N), dtype=input.dtype)
    wide = tl.float32 if input.is_floating_point() else tl.int64
    kernel_mm[(triton.cdiv(M, 16), triton.cdiv(N, 16))](
        input, mat2, out, M, N, K, *input.stride(), *mat2.stride(), T=16, D=wide)
    return out
"""
