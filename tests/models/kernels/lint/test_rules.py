"""Each rule with modules that break it and near neighbours that do not."""

import pytest

from models.kernels import Signature, find_profile, lint_text
from models.kernels.lint import RULE_IDS

SCHEMA = Signature.parse("op(Tensor self, Tensor other, int dim=0) -> Tensor")
KERNEL = """\
@triton.jit
def kernel_op(x_ptr, y_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < n
    x = tl.load(x_ptr + offs, mask=mask).to(tl.float32)
    tl.store(o_ptr + offs, x, mask=mask)


"""
WRAPPER = """\
def wrapper(self, other, dim=0):
    out = torch.empty_like(self)
    n = out.numel()
    kernel_op[(triton.cdiv(n, 64),)](self, other, out, n, BLOCK=64)
    return out
"""


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.split("\n"))


def host(text: str) -> str:
    """A module whose wrapper runs these lines before its usual ones."""
    head, rest = WRAPPER.split("\n", 1)
    return KERNEL + head + "\n" + indented(text) + rest


def kernel(text: str) -> str:
    """A module whose kernel runs these lines with offs, mask and x at hand."""
    return KERNEL.rstrip("\n") + "\n" + indented(text) + "\n\n" + WRAPPER


def top(text: str) -> str:
    return text + "\n\n\n" + KERNEL + WRAPPER


def whole(wrapper: str) -> str:
    return KERNEL + wrapper


STORE = "tl.store(o_ptr + offs, y, mask=mask)"
HELPER = "def _f(n):\n    return {}\n"

BREAKS: dict[str, list[str]] = {
    "FMT001": ["def wrapper(:", "\x00", "x = = 1", "((((", "\ud800"],
    "FMT002": [
        top("def helper(x):\n    return x"),
        top("def kernel_plain(x):\n    return x"),
        KERNEL,
        KERNEL + WRAPPER + WRAPPER,
        top("@triton.jit\ndef add(x):\n    return x"),
        KERNEL + "@triton.jit\n" + WRAPPER,
    ],
    "FMT003": [
        top("import os"),
        host("import os"),
        top("print(1)"),
        top("X = []"),
        top("X = torch.add"),
        top("x = 1"),
        top("X = tl.constexpr(torch.ones(2))"),
        top("def _f(a=[]):\n    return a"),
        top("def _f(a: print()):\n    return a"),
        top("@staticmethod\ndef _f(a):\n    return a"),
        host("x = 1  # noqa"),
        top("# type: ignore"),
        top("@triton.jit(repr=print)\ndef kernel_x(x):\n    return x"),
    ],
    "FMT004": [
        whole(WRAPPER.replace("dim=0", "dim=1")),
        whole(WRAPPER.replace("dim=0", "dim")),
        whole(WRAPPER.replace("dim=0", "*, dim=0")),
        whole(WRAPPER.replace("dim=0", "axis=0")),
        whole(WRAPPER.replace("dim=0", "dim=0, *args")),
        whole(WRAPPER.replace("dim=0", "dim=False")),
        whole(WRAPPER.replace("self, other", "other, self", 1)),
    ],
    "MOD001": [
        kernel("y = tl.nonsense(x)"),
        kernel("y = tl.to(x)"),
        kernel("y = tl.negate()"),
        kernel("y = tl.dot()").replace("tl.dot()", "tl.binary(x)"),
        kernel("tl.device_print('x', x)"),
        kernel("y = tl.math.nonsense(x)"),
        kernel("y = x.handle"),
        kernel("y = x.nonsense()"),
        kernel("y = libdevice.tan(x)"),
        kernel("y = offs.to(x_ptr.dtype)"),
        kernel("y = tl.extra.cuda.libdevice.tan(x)"),
    ],
    "MOD002": [
        host("a = torch.add(self, other)"),
        host("a = torch.zeros((2,))"),
        host("a = torch.clone(self)"),
        host("a = torch.empty"),
        host("a = torch.tensor(1)"),
        host("a = torch.Size((1,))"),
    ],
    "MOD003": [
        host("a = tl.float32"),
        host("a = tl.cdiv(1, 2)"),
        host("a = libdevice"),
        kernel("y = torch.float32"),
        kernel("y = math.pi"),
    ],
    "MOD004": [
        host("a = triton.testing.do_bench(1)"),
        host("a = triton.Config({})"),
        host("a = triton.cdiv"),
        kernel("y = triton.cdiv(n, 2)"),
    ],
    "CHT001": [
        host("a = torch.ops.aten.add(self, other)"),
        host("a = torch._C"),
        host("a = torch._refs.add(self, other)"),
        host("a = torch._prims.add(self, other)"),
        host("a = torch.nn.functional.relu(self)"),
        host("a = torch.linalg.norm(self)"),
        host("a = torch.Tensor.sum(self)"),
        kernel("y = torch.ops.aten.add(x, x)"),
    ],
    "CHT002": [
        host("a = self.sum()"),
        host("a = self.T"),
        host("a = self.contiguous()"),
        host("a = self.reshape(-1)"),
        host("a = self.clone()"),
        host("a = self.grad"),
        host("a = abs(self)"),
        host("a = sum([self, other])"),
        host("a = 'x'.upper()"),
        host("a = list(self)"),
        host("a = torch.empty((2,), requires_grad=True)"),
        host("kernel_op[(1,)](self, other, self, 1, BLOCK=16, warmup=True)"),
    ],
    "CHT003": [
        host("a = self + 1"),
        host("a = 1 - self"),
        host("a = ~self"),
        host("a = self < other"),
        host("a = self[0]"),
        host("a = [1, 2][self]"),
        host("self += 1"),
        host("a = not self"),
        host("a = self and other"),
        host("a, b = self"),
        host("if self:\n    dim = 1"),
        host("for row in self:\n    dim = 1"),
        host("a = self in [other]"),
        host("a = [self] == [other]"),
        host("a = 1 if self else 2"),
        host("while self:\n    self = other"),
        host("assert self"),
        host("raise ValueError(f'{self}')"),
        host("a = {self: 1}"),
        host("self[0] = 1"),
    ],
    "CHT004": [
        host("a = self.to(torch.float32)"),
        host("a = self.cpu()"),
        host("a = self.cuda()"),
        host("a = self.type(torch.int64)"),
        host("a = torch.device('cpu')"),
        host("a = torch.empty((2,), device='cuda')"),
    ],
    "CHT005": [
        host("a = eval('1')"),
        host("a = exec('1')"),
        host("a = compile('1', '', 'eval')"),
        host("a = getattr(self, 'sum')()"),
        host("a = self.__class__"),
        host("a = __builtins__"),
        host("a = lambda: torch"),
        host("a = (b := 1)"),
        host("a = f'{dim}'"),
        host("a = {1}"),
        host("a = {k: 1 for k in (1, 2)}"),
        host("def _g():\n    return 1"),
        host("try:\n    dim = 1\nexcept ValueError:\n    dim = 2"),
        host("with self:\n    dim = 1"),
        host("del dim"),
        host("yield 1"),
        host("a = await self"),
        host("class A:\n    pass"),
        host("a = b'x'"),
        host("a = 1j"),
        host("torch = 1"),
        host("len = 1"),
        host("a = torch"),
        host("a = len"),
        host("a = kernel_op"),
        host("a = ValueError"),
        host("a = undefined"),
        host("a = self(1)"),
        host("a = vars()"),
        host("ａ = 1"),
        host("a = wrapper(self, other)"),
        host("1 + 1"),
        host("raise ValueError(f'{dim:99999999}')"),
        host("a = '%99999999d' % dim"),
        kernel("y = [v for v in (1, 2)]"),
        kernel("y = undefined"),
        kernel("y = eval('x')"),
        kernel("y = open('/etc/hostname')"),
    ],
    "CHT006": [
        host("a = self.item()"),
        host("a = self.tolist()"),
        host("a = self.numpy()"),
        host("a = self.data_ptr()"),
        host("a = int(self)"),
        host("a = float(self)"),
        host("a = math.sqrt(self)"),
    ],
    "CHT007": [
        host("a = (" + "3, " * 60 + ")"),
        top("X = (" + "0.5, " * 60 + ")"),
        host("a = 0x" + "f" * 40),
        host("a = '" + "x" * 400 + "'"),
        kernel("".join(f"y = tl.where(x == {i}.5, 1.0, x)\n" for i in range(20)).strip()),
        host("\n".join(f"a = dim + {100 + i}" for i in range(120))),
    ],
    "CHT008": [
        host("if self.shape == (5, 3):\n    dim = 1"),
        host("if self.shape[0] == 17:\n    dim = 1"),
        host("if self.numel() != 125:\n    dim = 1"),
        host("if 15 in self.shape:\n    dim = 1"),
        host("if self.stride(0) == 3:\n    dim = 1"),
        host("if len(self.shape) and math.prod(self.shape) == 15:\n    dim = 1"),
        host("a = 1 if self.size(0) > 17 else 2"),
        host("if self.shape[0] - 17:\n    dim = 1"),
        host("a = (1, 3, 5, 7, 9, 11)[self.shape[0]]"),
        host("a = {(5, 3): 1}"),
        kernel("if n == 125:\n    x = x + 1.0"),
        kernel("y = tl.where(n == 125, x, 0.0)"),
    ],
    "CHT009": [
        whole("def wrapper(self, other, dim=0):\n    return self\n"),
        whole("def wrapper(self, other, dim=0):\n    return other.view(-1)\n"),
        whole("def wrapper(self, other, dim=0):\n    a = [self]\n    return tuple(a)\n"),
        HELPER.format("n.detach()")
        + whole("def wrapper(self, other, dim=0):\n    return _f(self)\n"),
    ],
    "CHT010": [
        host("global X\nX = 1"),
        host("self.x = 1"),
        host("torch.add = 1"),
        host("wrapper.cache = 1"),
        top("X = (1,)") + "    X[0] = 1\n",
        kernel("x.y = 1"),
        kernel("tl.store = 1"),
    ],
    "SEM001": [
        kernel("y = tl.arange(0, n)"),
        kernel("y = tl.arange(0, 100)"),
        kernel("y = tl.arange(0, 2 * BLOCK + 1)"),
        kernel("y = tl.arange(0, 1 << 30)").replace("1 << 30", "2097152"),
        kernel("y = tl.zeros((n,), dtype=tl.float32)"),
        top("SIZE = 16").replace("tl.arange(0, BLOCK)", "tl.arange(0, SIZE)"),
        (KERNEL + WRAPPER).replace("BLOCK=64", "BLOCK=100"),
    ],
    "SEM002": [
        kernel("y = tl.load(x_ptr + offs)"),
        kernel("y = tl.load(x_ptr + offs, mask=True)"),
        kernel("tl.store(o_ptr + offs, x)"),
        kernel("tl.atomic_add(o_ptr + offs, x)"),
        kernel("p = x_ptr + tl.arange(0, BLOCK)[:, None]\ny = tl.load(p)"),
    ],
    "SEM003": [
        kernel("y = tl.load(x_ptr + offs, mask=mask) + 1"),
        kernel("y = tl.exp(tl.load(x_ptr + offs, mask=mask))"),
        kernel("a = tl.load(x_ptr + offs, mask=mask)\ny = a * a"),
        kernel("y = -tl.load(x_ptr + offs, mask=mask)"),
        kernel("a = x.to(tl.bfloat16)\ny = a + a"),
        kernel("a = x.to(o_ptr.dtype.element_ty)\ny = a * 2"),
        kernel("y = tl.sum(tl.load(x_ptr + offs, mask=mask), axis=0)"),
    ],
    "SEM004": [
        kernel("y = (x > 0) + (x < 1)"),
        kernel("y = mask * (x > 0)"),
        kernel("y = -(x > 0)"),
        kernel("y = tl.cumsum(x > 0, axis=0)"),
    ],
    "SEM005": [
        (KERNEL + WRAPPER).replace(".to(tl.int64)", ""),
        kernel("p = tl.program_id(0)\nq = o_ptr + p * n + offs\ntl.store(q, x, mask=mask)"),
    ],
    "SEM006": [
        kernel("a = x.to(tl.int64)[:, None]\ny = tl.dot(a, a)"),
        kernel("a = x.to(tl.int32)[:, None]\ny = tl.dot(a, a)"),
        kernel(
            "i = tl.arange(0, 8)\na = tl.load(x_ptr + i[:, None], mask=i[:, None] < n)\n"
            "y = tl.dot(a, a)"
        ),
    ],
    "SEM007": [
        kernel("y = n.to(tl.float32)"),
        kernel("y = BLOCK.to(tl.float32)"),
        kernel("a = 1\ny = a.to(tl.int64)"),
        kernel("for i in range(n):\n    y = i.to(tl.int64)"),
        kernel("y = (n + 1).to(tl.int64)"),
    ],
    "SEM008": [
        kernel("y = tl.zeros((BLOCK,))"),
        kernel("y = tl.full((BLOCK,), 0)"),
    ],
    "RES001": [
        host("while True:\n    dim = 1"),
        host("while dim < 3:\n    a = 1"),
        host("for i in range(10**12):\n    dim = i"),
        host("a = [1]\nfor i in a:\n    a.append(i)"),
        host("a = torch.empty((2**40,))"),
        host("a = [0] * 10**9"),
        host("a = 7 ** 10**8"),
        host("a = pow(7, 10**8)"),
        host("a = list(range(10**12))"),
        host("a = [i for i in range(10**12)]"),
        host("a = [0] * self.numel()"),
        "def _f(n):\n    return _f(n)\n" + KERNEL + WRAPPER,
        kernel("while n > 0:\n    y = 1"),
        kernel("for i in tl.static_range(100000):\n    y = i"),
    ],
    "RES002": [
        "x = 1\n" * 7_000,
        "#" * 1_000_000,
        host("a = " + "-" * 200 + "1"),
        host("a = " + "1 + " * 5_000 + "1"),
        host("a = " + "[" * 150 + "]" * 150),
    ],
}

KEEPS: dict[str, list[str]] = {
    "FMT001": [KERNEL + WRAPPER, '"""Docstring."""\n\n' + KERNEL + WRAPPER],
    "FMT002": [
        top("def _helper(n):\n    return n"),
        top("@triton.jit\ndef _device(x):\n    return x"),
        top("@triton.jit\ndef kernel(x):\n    return x"),
    ],
    "FMT003": [
        top("# the sum of squares, as in the paper"),
        top("SIZE = tl.constexpr(16)\nOTHER: tl.constexpr = 4\nPAIR = (1, -2.5, math.inf)"),
        top("WIDE = torch.float64"),
        top("def _f(a: int, b: tuple[int, ...] | None = None, c=(1, 2)) -> int:\n    return a"),
        top('@triton.jit(do_not_specialize=["x"])\ndef kernel_x(x):\n    return x'),
    ],
    "FMT004": [
        whole(WRAPPER),
        whole(
            WRAPPER.replace(
                "self, other, dim=0)", "self: torch.Tensor, other: torch.Tensor, dim: int = 0)", 1
            )
        ),
    ],
    "MOD001": [
        kernel("y = tl.exp(x)\n" + STORE),
        kernel("y = tl.math.exp(x)\n" + STORE),
        kernel("y = x.sum(axis=0)"),
        kernel("y = x.to(o_ptr.dtype.element_ty)\n" + STORE),
        kernel("if x_ptr.dtype.element_ty.is_floating():\n    y = x"),
    ],
    "MOD002": [
        host("a = torch.empty((2,), dtype=torch.float32, device=self.device)"),
        host("a = torch.finfo(self.dtype).max"),
        host("a = torch.promote_types(self.dtype, torch.int64)"),
        host("a = isinstance(self, torch.Tensor)"),
        host("a = torch.broadcast_shapes(self.shape, other.shape)"),
        host("a = self.is_contiguous(memory_format=torch.channels_last)"),
    ],
    "MOD003": [kernel("y = tl.cdiv(n, 2)"), host("a = math.ceil(2.5)")],
    "MOD004": [host("a = triton.cdiv(dim, 2) + triton.next_power_of_2(3)")],
    "CHT001": [host("a = torch.float32"), host("a = torch.empty((2,))")],
    "CHT002": [
        host("a = self.shape, self.stride(), self.numel(), self.dtype, self.device"),
        host("a = self.as_strided((1,), (1,), 0)\nb = self.expand(2, 3).view(-1).permute(0)"),
        host("a = self.transpose(0, 1).unsqueeze(0).select(0, 0)"),
        host("a = [1]\na.append(2)\nb = a.index(1) + a.pop()"),
        host("a = self.new_empty((2,))"),
        host("a = {torch.float32: 1}\nb = a.get(self.dtype, 2)"),
        host("kernel_op[(1,)](self, other, self, 1, BLOCK=16, num_warps=4, num_stages=2)"),
        host("a = min(self.shape) + sum([1, 2]) + max(dim, 1)"),
    ],
    "CHT003": [
        host("a = dim + 1"),
        host("a = self.shape[0] * self.stride(0)"),
        host("a = self.shape + (1,)"),
        host("a = self is other or self is None"),
        host("a = self.dtype == other.dtype"),
        host("a = [x.numel() + 1 for x in (self, other)]"),
        host("a = [self, other][0].numel()"),
        host("a, b = self, other"),
        host("if isinstance(dim, int) and dim > 0:\n    dim = dim - 1"),
        host("raise ValueError(f'dim {dim} of {self.shape}')"),
    ],
    "CHT004": [
        host("a = torch.empty((2,), device=other.device)"),
        host("d = self.device\na = torch.empty((2,), device=d)"),
        host("a = torch.empty((2,), device=None)"),
    ],
    "CHT005": [
        host("for i in range(dim):\n    if i > 3:\n        break\n    else:\n        continue"),
        host("grid = lambda meta: (triton.cdiv(dim, meta['BLOCK']),)"),
        host("a = tuple(s for s in self.shape if s > 1)"),
        host("a = [*self.shape, 1]"),
        host("a = (1 if dim else 2), -dim, not dim"),
        top("def _f(n: int):\n    return n") + "    a = _f(n)\n",
        host("raise NotImplementedError('rank')"),
        kernel("y = x[:, None] + x[None, :]"),
        kernel("y = tl.zeros([BLOCK], dtype=tl.float32)"),
    ],
    "CHT006": [
        host("a = int(dim) + float(dim) + int(self.shape[0])"),
        host("a = math.prod(self.shape) + math.sqrt(dim)"),
    ],
    "CHT007": [
        host("a = (1, 2, 3, 4, 5, 6, 7, 8)"),
        host("a = 2**31 - 1"),
        kernel("\n".join(f"y = x * {i}.25 + {i}.5" for i in range(30))),
    ],
    "CHT008": [
        host("if self.numel() == 0:\n    return torch.empty_like(self)"),
        host("if self.shape[0] != 1 and self.shape[0] != other.shape[0]:\n    dim = 1"),
        host("if self.ndim == 4 or len(self.shape) == 5:\n    dim = 1"),
        host("if self.shape[-1] != 3:\n    raise RuntimeError('cross takes three')"),
        host("a = 64 if self.shape[0] <= 1024 else 128"),
        host("if self.numel() > 2**31 - 1:\n    dim = 1"),
        host("if self.shape != other.shape:\n    dim = 1"),
        host("if dim == 17:\n    dim = 1"),
        kernel("if n == 1:\n    x = x + 1.0"),
        kernel("if BLOCK == 64:\n    x = x + 1.0"),
    ],
    "CHT009": [
        whole(WRAPPER),
        whole(WRAPPER.replace("return out", "return out.view(self.shape)")),
    ],
    "CHT010": [
        host("a = [1, 2]\na[0] = 3"),
        host("a = {1: 2}\na[1] = dim"),
    ],
    "SEM001": [
        kernel("y = tl.arange(0, 128)"),
        kernel("y = tl.arange(0, 2 * BLOCK)"),
        kernel("HALF: tl.constexpr = BLOCK // 2\ny = tl.arange(0, HALF)"),
        top("SIZE = tl.constexpr(16)") + "",
        kernel("y = tl.zeros((BLOCK, 2), dtype=tl.float32)"),
    ],
    "SEM002": [
        kernel("y = tl.load(x_ptr + offs, mask)"),
        kernel("y = tl.load(x_ptr + tl.program_id(0))"),
        kernel("y = tl.load(x_ptr + tl.minimum(offs, n - 1))"),
        kernel("y = tl.load(x_ptr + offs % n)"),
        kernel("y = tl.load(x_ptr + tl.where(offs < n, offs, 0))"),
        kernel("tl.store(o_ptr, tl.sum(x, axis=0))"),
    ],
    "SEM003": [
        kernel("y = tl.load(x_ptr + offs, mask=mask).to(tl.float32) + 1"),
        kernel("a = tl.load(x_ptr + offs, mask=mask)\ny = tl.where(a > 0, a, a)"),
        kernel("a = tl.load(x_ptr + offs, mask=mask)\ny = a & a"),
        kernel(
            "a = tl.load(x_ptr + offs, mask=mask)\nif BLOCK == 1:\n    a = a.to(tl.float64)"
            "\nelse:\n    a = a.to(tl.float32)\ny = a * a"
        ),
        kernel("y = x + tl.load(x_ptr + offs, mask=mask)"),
        kernel("y = tl.cast(tl.load(x_ptr + offs, mask=mask), tl.float32) * 2"),
    ],
    "SEM004": [
        kernel("y = (x > 0) & (x < 1) | ~mask"),
        kernel("y = (x > 0).to(tl.int32) + (x < 1).to(tl.int32)"),
        kernel("y = tl.cumsum((x > 0).to(tl.int32), axis=0)"),
        kernel("y = x * mask"),
    ],
    "SEM005": [
        KERNEL + WRAPPER,
        host("if self.numel() > 2**31 - 1:\n    raise ValueError('large')").replace(
            ".to(tl.int64)", "", 1
        ),
    ],
    "SEM006": [
        kernel("a = x.to(tl.float16)[:, None]\ny = tl.dot(a, a)"),
        kernel("a = x[:, None]\ny = tl.dot(a, a)"),
    ],
    "SEM007": [
        kernel("y = x.to(tl.int64)"),
        kernel("y = tl.program_id(0).to(tl.int64)"),
        kernel("y = tl.cast(n, tl.float32)"),
        kernel("y = tl.full((), 1, dtype=tl.int64).to(tl.float32)"),
    ],
    "SEM008": [
        kernel("y = tl.zeros((BLOCK,), dtype=tl.float32)"),
        kernel("y = tl.zeros((BLOCK,), tl.float32)"),
        kernel("y = tl.full((BLOCK,), 0, tl.int32)"),
    ],
    "RES001": [
        host("while dim > 1:\n    dim = dim // 2"),
        host("a = [1]\nwhile len(a) < 8:\n    a.append(1)"),
        host("for i in range(len(self.shape)):\n    dim = i"),
        host("a = [0] * self.ndim"),
        host("a = torch.empty((1024, 1024))"),
        host("a = 2**40"),
        kernel("i = 0\nwhile i < n:\n    i += BLOCK"),
        kernel("for i in tl.static_range(8):\n    y = i"),
    ],
    "RES002": [
        host("\n".join(["dim = dim + 1"] * 500)),
        host("a = " + "1 + " * 40 + "1"),
    ],
}


def rules(source: str) -> list[str]:
    report = lint_text(source, SCHEMA, find_profile("interpreter"))
    return sorted({one.rule for one in report.violations})


def cases(table: dict[str, list[str]]) -> list:
    return [
        pytest.param(rule, source, id=f"{rule}-{number}")
        for rule, sources in table.items()
        for number, source in enumerate(sources)
    ]


def test_every_rule_has_modules_that_break_it_and_modules_that_keep_it():
    assert sorted(BREAKS) == sorted(KEEPS) == sorted(RULE_IDS)


def test_the_rules_are_those_of_the_brief_and_two_more():
    brief = (
        [f"FMT00{n}" for n in range(1, 5)]
        + [f"MOD00{n}" for n in range(1, 5)]
        + [f"CHT00{n}" for n in range(1, 9)]
        + [f"SEM00{n}" for n in range(1, 9)]
        + ["RES001", "RES002"]
    )
    assert set(RULE_IDS) - set(brief) == {"CHT009", "CHT010"}
    assert set(brief) <= set(RULE_IDS)


@pytest.mark.parametrize(("rule", "source"), cases(BREAKS))
def test_a_module_that_breaks_the_rule_is_told_so(rule, source):
    assert rule in rules(source)


@pytest.mark.parametrize(("rule", "source"), cases(KEEPS))
def test_a_neighbour_that_keeps_the_rule_passes_all(rule, source):
    report = lint_text(source, SCHEMA, find_profile("interpreter"))
    assert report.violations == (), report.text()
    assert report.passed


def test_overflow_is_a_warning_and_the_rest_are_errors():
    report = lint_text(BREAKS["SEM005"][0], SCHEMA, find_profile("interpreter"))
    assert [(one.rule, one.severity) for one in report.violations] == [("SEM005", "warning")]
    assert report.passed
