"""Rules that say which family an operator is of and why it is left out of the paper-like set.

The paper removes operators that are complex-only (FFT), random, or have 900 tests or more, and
publishes no list. Here a name is random when its result differs between two seeds of torch's
generator on the same inputs, or when it draws numbers and happens to ignore them.
"""

from __future__ import annotations

import re

from models.kernels.operators.spec import MOST_TESTS, Family

RANDOM = re.compile(
    r"^(bernoulli|cauchy|exponential|geometric|log_normal|multinomial|normal|rand|randn|randint|"
    r"rand_like|randn_like|randint_like|uniform|pca_lowrank|svd_lowrank|randperm|"
    r"nn\.functional\.(\w*dropout\w*|rrelu|fractional_max_pool[23]d))$"
)
UNINITIALISED = re.compile(
    r"^(new_)?empty(_like|_strided|_permuted)?$|^new_empty_strided$|^resize_"
)
"""Operators whose values nobody defines: only metadata can be checked."""
READS_DATA = re.compile(
    r"^(nonzero|nonzero_static|masked_select|unique|unique_consecutive|bincount|argwhere|"
    r"repeat_interleave|histc|histogram|histogramdd|item|equal|allclose|combinations|"
    r"linalg\.matrix_rank|tensor_split|where|bucketize|searchsorted|_segment_reduce|"
    r"nn\.functional\.(ctc_loss|embedding_bag|one_hot)|__getitem__|index_put|linalg\.lstsq|"
    r"is_nonzero|to_sparse|masked_scatter)$"
)
"""Operators whose output size or control flow needs a value: the wrapper may read numbers."""
GAUGE = re.compile(
    r"^(svd|pca_lowrank|svd_lowrank|linalg\.(svd|eigh|eig|qr|lstsq|ldl_factor\w*)|qr|geqrf)$"
)
"""Results that are right up to a sign or phase: compared after OpInfo's own post-processing."""
UNWRITABLE = re.compile(
    r"^(sparse\.|to_sparse$|nn\.functional\.triplet_margin_with_distance_loss$)"
)
"""Operators with samples that no file can hold (sparse tensors, modules as arguments): these
samples are skipped by reason and stay in the denominator."""

_RULES: tuple[tuple[Family, str], ...] = (
    ("random", RANDOM.pattern),
    ("fft", r"^(fft\.|stft$|istft$)"),
    ("sparse", r"^(sparse\.|to_sparse|torch_ops_aten__safe_softmax_sparse)"),
    ("linalg", r"^(linalg\.|cholesky|lu($|_)|qr$|svd$|geqrf$|ormqr$|pinverse$|triangular_solve$|"
               r"logdet$|inverse$|matrix_exp$|trapz|nothing$|symeig)"),
    ("attention", r"(attention|_flash|_efficient)"),
    ("embedding", r"embedding"),
    ("conv", r"conv|unfold$|fold$|^nn\.functional\.(un)?fold$"),
    ("pool", r"pool"),
    ("resample", r"(interpolate|upsample|grid_sample|affine_grid|pixel_(un)?shuffle|"
                 r"channel_shuffle)"),
    ("loss", r"(_loss|cross_entropy|kl_div|ctc)"),
    ("norm", r"(layer_norm|group_norm|batch_norm|instance_norm|rms_norm|local_response_norm|"
             r"softmax|softmin|normalize|renorm|log_softmax)"),
    ("scan", r"^(cum|_?logcumsumexp|masked\.cum|cumulative_trapezoid|trapezoid)"),
    ("sort", r"^(sort|msort|argsort|topk|kthvalue|median|nanmedian|mode|unique|quantile|"
             r"nanquantile)"),
    ("matmul", r"^(mm|bmm|matmul|__rmatmul__|addmm|addmv|addbmm|baddbmm|addr|mv|dot|vdot|inner|"
               r"outer|ger|einsum|tensordot|kron|chain_matmul|nn\.functional\.(bi)?linear|cdist|"
               r"nn\.functional\.pdist|cov|corrcoef|addmm_decomposed|block_diag)"),
    ("reduction", r"^(sum|mean|prod|amax|amin|argmax|argmin|aminmax|max|min|all|any|norm|var|std|"
                  r"nansum|nanmean|logsumexp|count_nonzero|masked\.|hash_tensor|trace|"
                  r"_segment_reduce|sum_to_size|cross$|nn\.functional\.(cosine|pairwise))"),
    ("index", r"(index|gather|scatter|take|put|masked_|nonzero|argwhere|searchsorted|bucketize|"
              r"bincount|hist|__getitem__|select_scatter|slice_scatter|isin|tril_|triu_|where|"
              r"one_hot|item|combinations|cartesian_prod)"),
    ("creation", r"^(new_|empty|zeros|ones|full|arange|linspace|logspace|eye|scalar_tensor|"
                 r"vander|meshgrid|complex$|polar$|zero_$|signal\.windows\.)|_like$"),
    ("copy", r"^(cat|concat|concatenate|stack|hstack|vstack|dstack|column_stack|row_stack|flip|"
             r"fliplr|flipud|roll|rot90|repeat|tile|clone|contiguous|tril$|triu$|constant_pad|"
             r"nn\.functional\.pad|diag|diag_embed|bfloat16|bool|byte|char|double|float|half|int|"
             r"long|short|chalf|cfloat|cdouble|to$|type_as|_to_copy|copy|as_strided_)"),
    ("view", r"^(view|reshape|expand|squeeze|unsqueeze|permute|transpose|t$|T$|H$|mT$|mH$|"
             r"narrow|chunk|split|unsafe_split|unsafe_chunk|unbind|swap|movedim|moveaxis|"
             r"flatten|ravel|unflatten|alias|detach|as_strided|select|slice|diagonal|"
             r"atleast|broadcast|real|imag|tensor_split|dsplit|hsplit|vsplit|resize|adjoint|"
             r"resolve|positive|unravel|item|squeeze_copy|permute_copy|lift)"),
    ("pointwise", r"^(addcdiv|addcmul|clamp|lerp|logaddexp|native_dropout_backward)"),
)  # fmt: skip
_CLASSES: dict[str, Family] = {
    "UnaryUfuncInfo": "unary",
    "BinaryUfuncInfo": "binary",
    "ReductionOpInfo": "reduction",
    "SpectralFuncInfo": "fft",
    "ShapeFuncInfo": "copy",
}
_STRONG = ("UnaryUfuncInfo", "BinaryUfuncInfo", "ReductionOpInfo", "SpectralFuncInfo")


def family_of(name: str, opinfo_class: str) -> Family:
    """Return the family: OpInfo's own class where it says one, else the first rule that fits."""
    if re.match(RANDOM.pattern, name):
        return "random"
    if opinfo_class in _STRONG:
        return _CLASSES[opinfo_class]
    for family, pattern in _RULES:
        if re.search(pattern, name):
            return family
    if name.startswith("nn.functional."):
        return "pointwise"
    return _CLASSES.get(opinfo_class, "other")


def exclusion_of(name: str, opinfo_class: str, tests: int) -> str | None:
    """Return why an operator is not in the paper-like set, None when it is."""
    if name.startswith("fft.") or opinfo_class == "SpectralFuncInfo" or name in ("stft", "istft"):
        return "complex (FFT)"
    if RANDOM.match(name):
        return "random"
    if tests >= MOST_TESTS:
        return f"{tests} tests, {MOST_TESTS} or more"
    return None


def tags_of(name: str, opinfo: dict[str, bool]) -> tuple[str, ...]:
    """Return the tags of an operator; `opinfo` holds out, inplace and error_inputs."""
    found = [tag for tag, is_on in opinfo.items() if is_on]
    rules = (("reads_data", READS_DATA), ("uninitialised", UNINITIALISED), ("gauge", GAUGE),
             ("unwritable", UNWRITABLE))  # fmt: skip
    return (*found, *(tag for tag, rule in rules if rule.match(name)))
