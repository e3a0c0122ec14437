"""Chips of one's own: which shapes they come in, and what a file of them may not say."""

import math

import pytest

from models.errors import ConfigError, DatasetMissingError
from models.sharding.question import ShardingQuestion
from models.sharding.specs import Slice, find_chip
from models.sharding.specs.slice import shapes

TORUS = {
    "kind": '"tpu"', "flops": "{bf16 = 1e15}", "hbm_bytes": "1e11", "hbm_bytes_per_s": "1e12",
    "link_bytes_per_s": "1e11", "network_bytes_per_s": "1e10", "torus_dims": "2",
    "pod": "[32, 32]", "source": '"mine"',
}  # fmt: skip


@pytest.fixture
def place(tmp_path):
    """Read a slice from a table of one chip, `mine`, with some keys changed."""
    count = iter(range(1000))

    def read(shape, **keys):
        file = tmp_path / f"{next(count)}.toml"
        lines = (f"{key} = {value}\n" for key, value in (TORUS | keys).items())
        file.write_text("[mine]\n" + "".join(lines))
        return ShardingQuestion(slice=f"mine:{shape}", chip_file=str(file)).place()

    return read


def test_a_flat_torus_of_ones_own_comes_in_all_powers_of_two_up_to_its_pod(place):
    assert place("32x32").chips == 1024
    # 1, 2, 4 ... 32 are six sides, of which 6 x 7 / 2 pairs do not fall.
    assert len(shapes(place("1x32").chip)) == 21
    assert shapes(place("12x12", pod="[12, 12]").chip) == {
        *((a, b) for a in (1, 2, 4, 8) for b in (1, 2, 4, 8) if a <= b), (12, 12),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no slice 5x32"):
        place("5x32")
    assert Slice.of_count(place("32x32").chip, 4096).pods == 4


def test_a_deep_torus_of_ones_own_stays_within_its_pod(place):
    small = place("2x2x2", torus_dims="3", pod="[2, 2, 2]").chip
    assert shapes(small) == {(1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 2)}
    assert place("4x8x12", torus_dims="3", pod="[8, 8, 12]").chips == 384
    # As many shapes as the largest pod has are listed in no time.
    assert (100, 100, 100) in shapes(place("4x4x4", torus_dims="3", pod="[101, 101, 102]").chip)


def test_shipped_chips_come_in_what_their_makers_offer():
    assert shapes(find_chip("v6e")) == {
        (1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16),
    }  # fmt: skip
    deep = shapes(find_chip("v5p"))
    assert {math.prod(shape) for shape in deep if min(shape) < 4} == {1, 4, 8, 16, 32}
    assert max(deep, key=math.prod) == (16, 20, 28)
    # 4..16, 4..20 and 4..28 in fours, not falling; counted by hand for 4x4xN: seven.
    assert len([shape for shape in deep if shape[:2] == (4, 4)]) == 7


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"torus_dims": "1", "pod": "[32]"}, r"torus_dims \(2 or 3\).*torus_dims 1"),
        ({"pod": "[100000, 100000]"}, "'pod.0': .*less than or equal to 1024, got 100000"),
        ({"torus_dims": "3", "pod": "[1024, 1024, 1024]"}, "more than 1048576 chips"),
        ({"pod": "[0, 4]"}, "'pod.0'"),
        ({"flops": "{bf16 = nan}"}, "'flops.bf16': .*finite number, got nan"),
        ({"flops": "{bf16 = 1e15, fp8 = inf}"}, "'flops.fp8': .*finite"),
        ({"flops": "{bf16 = 1e15, fp8 = 0}"}, "'flops.fp8': "),
        ({"flops": "{fp8 = 1e15}"}, "needs a rate of bf16"),
        ({"flops": "{bf16 = 1" + "0" * 400 + "}"}, "'flops.bf16'"),
        ({"link_bytes_per_s": "1e-320"}, "'link_bytes_per_s': .*equal to 1000, got 1e-320"),
        ({"hbm_bytes": "inf"}, "'hbm_bytes': .*finite"),
        ({"hbm_bytes_per_s": "-1"}, "'hbm_bytes_per_s'"),
        ({"network_bytes_per_s": "nan"}, "'network_bytes_per_s'"),
        ({"hbm_bytes": "9" * 5000}, "is no TOML file"),
        ({"name": '"other"'}, "without 'name'"),
    ],
)
def test_what_no_chip_can_be_is_told_in_one_line(place, keys, said):
    with pytest.raises(ConfigError, match=said) as error:
        place("4x4", **keys)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("", ConfigError, "is a folder"),
        ("a\0b", ConfigError, "null"),
        ("x" * 5000, ConfigError, "cannot be read"),
        ("gone.toml", DatasetMissingError, "does not exist"),
        ("bare.toml", ConfigError, "must be a table"),
        ("deep.toml", ConfigError, "no TOML file"),
        ("noise.toml", ConfigError, "no TOML file"),
        ("large.toml", ConfigError, "larger than 1048576"),
    ],
)
def test_what_is_no_file_of_chips_is_told(tmp_path, name, kind, said):
    (tmp_path / "bare.toml").write_text("mine = 3\n")
    (tmp_path / "deep.toml").write_text("mine = " + "[" * 100_000)
    (tmp_path / "noise.toml").write_bytes(b"\xff\x00")
    (tmp_path / "large.toml").write_text("#" * (2**20 + 1))
    question = ShardingQuestion(slice="mine:4x4", chip_file=f"{tmp_path}/{name}")
    with pytest.raises(kind, match=said) as error:
        question.place()
    assert "\n" not in str(error.value)
