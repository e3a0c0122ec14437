import subprocess
import sys

import pytest

from models.errors import DatasetMissingError, DatasetUnreadableError, UnknownNameError
from models.kernels.lint import Signature
from models.kernels.operators import find_operator, read_catalogue, select_operators, slice60
from models.kernels.operators.catalogue import COLUMNS, MOST_SLICE_TESTS
from models.kernels.operators.documentation import documented
from models.kernels.operators.opinfo import derive, entries_of


def test_the_sets_have_the_sizes_of_the_paper():
    everything, paper = select_operators("all"), select_operators("paper")
    below = [spec for spec in everything if spec.tests < 900]
    assert len(read_catalogue()) == 636
    assert (len(everything), sum(spec.tests for spec in everything)) == (629, 68_896)
    assert (len(below), sum(spec.tests for spec in below)) == (616, 33_123)
    assert abs(len(paper) - 575) <= 5  # the paper has 568 of its own, unpublished list
    assert sum(spec.tests for spec in paper) > 31_000
    assert {spec.op_id for spec in paper} <= {spec.op_id for spec in below}


def test_every_exclusion_has_a_reason_and_no_random_or_fft_operator_stays():
    reasons = {spec.op_id: spec.exclusion for spec in select_operators("all")}
    assert reasons["nn.functional.max_pool2d"] == "7200 tests, 900 or more"
    assert reasons["fft.rfft"] == "complex (FFT)"
    assert reasons["bernoulli"] == reasons["nn.functional.dropout"] == "random"
    assert reasons["exp"] is None


def test_families_follow_what_an_operator_is():
    expected = {"exp": "unary", "add": "binary", "sum": "reduction", "cumsum": "scan",
                "topk": "sort", "gather": "index", "bmm": "matmul", "nn.functional.conv2d": "conv",
                "nn.functional.layer_norm": "norm", "nn.functional.avg_pool2d": "pool",
                "nn.functional.interpolate": "resample", "nn.functional.mse_loss": "loss",
                "linalg.svd": "linalg", "fft.fft": "fft", "normal": "random", "cat": "copy",
                "permute": "view", "zeros": "creation", "nn.functional.embedding": "embedding",
                "addcmul": "pointwise", "sparse.mm": "sparse",
                "nn.functional.scaled_dot_product_attention": "attention"}  # fmt: skip
    assert {name: find_operator(name).family for name in expected} == expected
    assert len(select_operators("other")) < 12


def test_the_slice_is_sixty_cheap_operators_of_many_families_and_always_the_same():
    chosen = slice60()
    assert len(chosen) == len({spec.op_id for spec in chosen}) == 60
    assert len({spec.family for spec in chosen}) >= 18
    assert all(0 < spec.tests <= MOST_SLICE_TESTS and spec.exclusion is None for spec in chosen)
    assert select_operators("slice60") == chosen
    assert sum(spec.tests for spec in chosen) < 3_000


def test_a_group_split_is_a_fifth_and_another_salt_is_another_one():
    specs = select_operators("paper")
    held = {spec.op_id for spec in specs if spec.split("one") == "holdout"}
    other = {spec.op_id for spec in specs if spec.split("two") == "holdout"}
    assert 0.15 < len(held) / len(specs) < 0.25
    assert held != other
    assert not [spec for spec in specs if spec.split("one", 0.0) == "holdout"]
    assert len([spec for spec in specs if spec.split("one", 1.0) == "holdout"]) == len(specs)


@pytest.mark.parametrize("op_id", ["add", "nn.functional.layer_norm", "sum", "linalg.svd",
                                   "signal.windows.hann", "permute"])  # fmt: skip
def test_the_snapshot_says_what_torch_says(op_id):
    assert derive(op_id, entries_of(op_id)) == find_operator(op_id)


def test_every_signature_of_a_slice_can_be_read_by_the_linter():
    for spec in select_operators("paper"):
        assert Signature.parse(spec.schema_text).parameters, spec.op_id


def test_documentation_brings_what_it_cites():
    spec = documented(find_operator("argmax"))
    assert "indices of the maximum value" in spec.docstring
    assert "max" in spec.nested_docs
    small = documented(find_operator("argmax"), most_characters=10)
    assert small.nested_docs == {}
    assert "sin" in documented(find_operator("sin")).docstring


def test_patterns_and_unknown_names(tmp_path):
    assert all(s.op_id.startswith("fft.") for s in select_operators("fft.*"))
    assert {"exp", "sin"} == {spec.op_id for spec in select_operators("sin, exp")}
    with pytest.raises(UnknownNameError, match="named 'nonsense'"):
        select_operators("nonsense")
    with pytest.raises(UnknownNameError, match=r"no operator named 'sof'; known: .*softmax"):
        find_operator("sof")


def test_a_missing_or_damaged_snapshot_says_what_to_do(tmp_path):
    with pytest.raises(DatasetMissingError, match=r"operators\.snapshot"):
        read_catalogue(tmp_path / "none.csv")
    damaged = tmp_path / "operators.csv"
    damaged.write_text(",".join(COLUMNS) + "\nadd,binary,,,[],1,x,1,1,1,4,add(Tensor self),[]\n")
    with pytest.raises(DatasetUnreadableError, match="line 2 is no operator"):
        read_catalogue(damaged)


def test_listing_needs_no_torch():
    code = (
        "import sys; from models.kernels.operators import select_operators; "
        "print(len(select_operators('paper')), 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split()[1] == "False"
