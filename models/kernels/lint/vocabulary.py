"""Names that a wrapper may use: functions, methods and attributes, by what they act on."""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TORCH_DTYPES = _names(
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 int short long half float double "
    "float16 float32 float64 bfloat16 complex32 complex64 complex128 cfloat cdouble "
    "float8_e4m3fn float8_e5m2"
)
TORCH_FORMATS = _names("contiguous_format channels_last channels_last_3d preserve_format strided")
TORCH_TYPES = _names("Tensor Size dtype device memory_format layout Generator")
"""Classes, for annotations and isinstance alone."""
TORCH_NUMBERS = _names("inf nan pi e")

MATH_FUNCTIONS = _names(
    "ceil floor trunc sqrt isqrt log log2 log10 log1p exp expm1 pow fabs copysign fmod prod gcd "
    "isfinite isinf isnan lgamma gamma erf erfc sin cos tan atan atan2 acos asin sinh cosh tanh "
    "hypot ldexp frexp"
)
MATH_NUMBERS = _names("pi e inf nan tau")

TRITON_HOST = frozenset({"cdiv", "next_power_of_2"})

BUILTINS = _names(
    "abs all any bool complex divmod enumerate float int isinstance len list max min pow range "
    "reversed round slice sorted str sum tuple zip"
)
NUMERIC_BUILTINS = _names("abs bool complex divmod float int max min pow round str sum")
"""Those that compute with, or read, what they get: never a tensor."""
EXCEPTIONS = _names(
    "ValueError RuntimeError TypeError IndexError NotImplementedError AssertionError "
    "OverflowError ZeroDivisionError"
)
KERNEL_BUILTINS = _names("range min max float int bool len abs isinstance tuple")

TENSOR_VALUES = _names(
    "shape dtype device ndim layout itemsize nbytes is_sparse is_quantized requires_grad"
)
TENSOR_SIZES = _names("size stride")
TENSOR_QUERIES = _names(
    "numel nelement dim ndimension element_size storage_offset is_contiguous is_floating_point "
    "is_complex is_signed is_conj is_neg"
)
TENSOR_VIEWS = _names(
    "as_strided expand expand_as view view_as permute transpose t squeeze unsqueeze select narrow "
    "diagonal unfold movedim moveaxis swapaxes swapdims unflatten detach"
)
TENSOR_SPLITS = _names("unbind split chunk")
TENSOR_ALLOCATIONS = _names("new_empty new_empty_strided")
TENSOR_METHODS = TENSOR_SIZES | TENSOR_QUERIES | TENSOR_VIEWS | TENSOR_SPLITS | TENSOR_ALLOCATIONS
TENSOR_MOVES = _names(
    "to cpu cuda xpu hip mps ipu type type_as pin_memory share_memory_ get_device to_dense "
    "to_sparse is_cuda numpy"
)
TENSOR_READS = _names("item tolist numpy __array__ data_ptr untyped_storage storage")

LIST_METHODS = _names("append extend insert pop reverse index count copy clear")
LIST_CHANGES = _names("append extend insert")
LIST_SHIFTS = _names("pop reverse clear")
"""Methods that put nothing new into a list, and leave its elements elsewhere."""
SIZE_METHODS = _names("numel index count")
MAP_METHODS = _names("get items keys values")
NUMBER_METHODS = _names("bit_length is_integer")
DTYPE_VALUES = _names("is_floating_point is_complex is_signed itemsize")
INFO_VALUES = _names("max min eps tiny smallest_normal resolution bits dtype")
DTYPE_METHODS = _names("to_real to_complex")

LAUNCH_OPTIONS = _names("num_warps num_stages num_ctas maxnreg enable_fp_fusion")

DEVICE_VALUES = _names("dtype element_ty shape T value primitive_bitwidth numel ndim rank")
DEVICE_METHODS = _names("to logical_and logical_or")
DEVICE_QUERIES = _names(
    "is_floating is_int is_int_signed is_int_unsigned is_bf16 is_fp16 is_fp32 is_fp64 is_fp8 "
    "is_int1 is_int8 is_int16 is_int32 is_int64 is_uint8 is_bool is_ptr is_block"
)
DESCRIPTOR_METHODS = _names("load store gather scatter")

SCALAR_NAMES = _names("i1 i8 i16 i32 i64 u1 u8 u16 u32 u64 fp16 bf16 fp32 fp64")
"""Types of a scalar argument as Triton spells them in an annotation."""
