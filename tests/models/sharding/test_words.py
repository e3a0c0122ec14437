"""Layouts in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError, UnknownNameError
from models.sharding.layout import REMATS, Layout
from models.sharding.words import parse_layout

SIZE = st.integers(1, 4096)


@given(
    st.builds(
        Layout,
        *([SIZE] * 9),
        zero=st.integers(0, 1),
        remat=st.sampled_from(REMATS),
    )
)
def test_what_a_layout_says_of_itself_is_read_back(layout: Layout):
    assert parse_layout(layout.text()) == layout


def test_short_names_commas_and_defaults_are_understood():
    assert parse_layout("tp=4, pp=8,vp=2 remat=none") == Layout(
        tensor=4, pipeline=8, interleave=2, remat="none"
    )
    assert parse_layout("") == Layout()
    assert parse_layout("FSDP=64 Tensor=4 MICRO=2 Selective") == Layout(
        fsdp=64, tensor=4, micro_batch=2, remat="selective"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fsdp=64 fsdp=2", "second of its name"),
        ("fsdp=many", "no size"),
        ("fsdp=٦٤", "no size"),
        ("fsdp=²", "no size"),
        ("fsdp=-4", "no size"),
        ("fsdp=0", "1 or more"),
        ("fsdp", "no size"),
        ("full none", "full and none"),
    ],
)
def test_what_is_no_layout_is_told(text: str, said: str):
    with pytest.raises(ConfigError, match=said):
        parse_layout(text)


def test_the_nearest_name_is_told():
    with pytest.raises(UnknownNameError, match="fsdp"):
        parse_layout("fsdq=4")
    with pytest.raises(UnknownNameError, match="full"):
        parse_layout("remat=ful")
