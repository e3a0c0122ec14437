import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DatasetUnreadableError
from models.sharding.profile.hlo.groups import (
    axes_of_groups,
    axes_of_pairs,
    replica_groups,
    source_target_pairs,
)
from models.sharding.profile.hlo.parse import parse_instruction


def gather(groups: str):
    return parse_instruction(
        f"%a = f32[4]{{0}} all-gather(%b), replica_groups={groups}, x={{0}}", 3
    )


def permute(pairs: str):
    return parse_instruction(
        f"%a = f32[4]{{0}} collective-permute(%b), source_target_pairs={pairs}", 3
    )


def listed(groups) -> str:
    return "{" + ",".join("{" + ",".join(map(str, g)) + "}" for g in groups) + "}"


def test_the_iota_form_reshapes_transposes_and_reshapes():
    # xla/hlo/ir: [2,4]<=[4,2]T(1,0) is arange(8).reshape(4,2).T.reshape(2,4).
    assert replica_groups(gather("[2,4]<=[4,2]T(1,0)"), 8) == ((0, 2, 4, 6), (1, 3, 5, 7))
    assert replica_groups(gather("[4,2]<=[8]"), 8) == ((0, 1), (2, 3), (4, 5), (6, 7))


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(
        lambda dims: st.tuples(
            st.just(dims), st.permutations(range(len(dims))),
            st.sampled_from([d for d in range(1, math.prod(dims) + 1) if math.prod(dims) % d == 0]),
        )
    )
)  # fmt: skip
def test_every_iota_group_is_what_numpy_makes_of_it(case):
    dims, order, count = case
    total = math.prod(dims)
    text = f"[{count},{total // count}]<=[{','.join(map(str, dims))}]T({','.join(map(str, order))})"
    expected = np.arange(total).reshape(dims).transpose(order).reshape(count, -1)
    assert replica_groups(gather(text), total) == tuple(map(tuple, expected.tolist()))


meshes = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=5).map(
    lambda sizes: {f"axis{n}": size for n, size in enumerate(sizes)}
)


@given(meshes, st.data())
def test_axes_are_found_from_the_groups_that_they_make(mesh, data):
    used = [axis for axis, size in mesh.items() if size > 1]
    if not used:
        return
    axes = data.draw(st.lists(st.sampled_from(used), min_size=1, unique=True))
    sizes = list(mesh.values())
    along = [n for n, axis in enumerate(mesh) if axis in axes]
    across = [n for n in range(len(sizes)) if n not in along]
    numbers = np.arange(math.prod(sizes)).reshape(sizes).transpose(across + along)
    groups = numbers.reshape(-1, math.prod(sizes[n] for n in along))
    shuffled = data.draw(st.permutations(groups.tolist()))
    expected = tuple(axis for axis in mesh if axis in axes)
    found = replica_groups(gather(listed(shuffled)), math.prod(sizes))
    assert axes_of_groups(found, mesh) == expected
    # The form of named axes says the same.
    names = ",".join(f"'{axis}'={size}" for axis, size in mesh.items())
    uses = ",".join(f"'{axis}'" for axis in expected)
    named = replica_groups(gather(f"mesh[{names}] {{{uses}}}"), math.prod(sizes))
    assert axes_of_groups(named, mesh) == expected


def test_a_part_of_a_named_axis_is_a_group_of_its_own():
    whole = gather("mesh['a'=8,'b'=2] {'a':(2)2}")
    # Axis a is 2 x 2 x 2; the middle part runs over 4 devices' distance, b and the rest stay.
    expected = np.arange(16).reshape(2, 2, 2, 2).transpose(0, 2, 3, 1).reshape(-1, 2)
    assert replica_groups(whole, 16) == tuple(map(tuple, expected.tolist()))


def test_devices_of_a_named_mesh_may_be_placed():
    # Both from a compile of this project's own for sixteen devices.
    mesh = "mesh['axis_0'=2,'axis_1'=4,'axis_2'=2,'axis_3'=1]"
    turned = gather(mesh + ", device_ids=([8,2]T(1,0)) {'axis_0'}")
    assert replica_groups(turned, 16) == tuple((2 * n, 2 * n + 1) for n in range(8))
    swapped = gather("mesh['axis_0'=8,'axis_1'=2], device_ids=([4,2,2]T(0,2,1)) {'axis_1'}")
    expected = np.arange(16).reshape(4, 2, 2).transpose(0, 2, 1).reshape(8, 2)
    assert replica_groups(swapped, 16) == tuple(map(tuple, expected.tolist()))
    given = gather("mesh['a'=2,'b'=2], device_ids=(3,1,2,0) {'b'}")
    assert replica_groups(given, 4) == ((3, 1), (2, 0))


def test_groups_of_no_set_of_axes_have_none():
    mesh = {"data": 2, "fsdp": 4}
    assert axes_of_groups(((0, 1, 2), (3, 4, 5, 6, 7)), mesh) == ()
    assert axes_of_groups(((0, 3), (1, 2), (4, 7), (5, 6)), mesh) == ()
    assert axes_of_groups(((0, 1), (2, 3)), mesh) == ()


def test_no_groups_mean_all_devices():
    assert replica_groups(gather("{}"), 4) == ((0, 1, 2, 3),)


def test_pairs_tell_the_axes_along_which_they_move():
    mesh = {"data": 2, "tensor": 4}
    ring = source_target_pairs(permute("{{0,1},{1,2},{2,3},{3,0},{4,5},{5,6},{6,7},{7,4}}"))
    assert axes_of_pairs(ring, mesh) == ("tensor",)
    assert axes_of_pairs(source_target_pairs(permute("{{0,4},{1,5}}")), mesh) == ("data",)
    assert axes_of_pairs(source_target_pairs(permute("{{0,5}}")), mesh) == ("data", "tensor")
    assert axes_of_pairs(((0, 9),), mesh) == ()


@pytest.mark.parametrize(
    "groups",
    ["[3,3]<=[8]", "[2,4]<=[4,2]T(1,1)", "{{0,1},{1,2}}", "{{0,1},{2,9}}", "whatever",
     "mesh['a'=2] {'b'}", "mesh['a'=2,'b'=2], device_ids=(3,1) {'b'}",
     "mesh[] {'a'}", "mesh['a'=8] {'a':(3)2}",
     "{{},{0,1}}",
     "[999999999999]<=[999999999999]"],
)  # fmt: skip
def test_garbled_groups_are_refused_with_their_line(groups):
    with pytest.raises(DatasetUnreadableError, match=r"HLO line 3: instruction a"):
        replica_groups(gather(groups), 8)


def test_garbled_pairs_are_refused():
    with pytest.raises(DatasetUnreadableError, match="expected source_target_pairs"):
        source_target_pairs(permute("{{0,1,2}}"))
