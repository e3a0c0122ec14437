import pytest
import yaml
from pydantic import ValidationError

from models.errors import ConfigError, DatasetMissingError, UnknownNameError
from models.kernels import DeviceProfile, find_profile, profile_names
from models.kernels.profiles import PROFILES

ALL = profile_names()


def written(folder, name, **values):
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture
def folder(tmp_path):
    base = (PROFILES / "interpreter.yaml").read_text()
    (tmp_path / "interpreter.yaml").write_text(base)
    return tmp_path


def test_the_five_gpus_the_interpreter_and_two_dialects_are_there():
    gpus = {"sm80", "sm90", "sm100", "gfx942", "gfx1100"}
    assert set(ALL) == gpus | {"interpreter", "padded32", "gather_only"}
    assert {name for name in ALL if find_profile(name).kind == "gpu"} == gpus
    for name in ALL:
        assert (find_profile(name).target is not None) == (name in gpus)


@pytest.mark.parametrize("name", ALL)
def test_every_allowed_name_exists_in_the_installed_triton_and_torch(name):
    import torch
    import triton.language as tl

    profile = find_profile(name)
    assert [one for one in sorted(profile.tl_allow) if not hasattr(tl, one)] == []
    assert [one for one in sorted(profile.torch_allow) if not hasattr(torch, one)] == []
    assert [one for one in profile.dtypes if not hasattr(torch, one)] == []


@pytest.mark.parametrize("name", ALL)
def test_no_profile_allows_what_escapes_prints_or_is_gone(name):
    escapes = {
        "inline_asm_elementwise",
        "map_elementwise",
        "device_print",
        "static_print",
        "pointer_type",
        "make_block_ptr",
        "core",
        "extra",
        "math",
        "target_info",
    }
    profile = find_profile(name)
    assert not profile.tl_allow & escapes
    assert not profile.torch_allow & {"zeros", "ones", "full", "arange", "tensor", "add", "sum"}


def test_targets_are_those_that_triton_compiles_for():
    from triton.backends.compiler import GPUTarget

    targets = {name: find_profile(name).target for name in ALL}
    assert GPUTarget(*targets["sm90"]) == GPUTarget("cuda", 90, 32)
    assert GPUTarget(*targets["gfx942"]) == GPUTarget("hip", "gfx942", 64)
    assert GPUTarget(*targets["gfx1100"]).warp_size == 32


def test_the_padded_dialect_is_what_the_paper_says_of_its_chip():
    padded = find_profile("padded32")
    assert padded.align_bytes == 32
    assert not padded.features.scatter
    assert not padded.features.fp64
    assert "float64" not in padded.tl_allow | set(padded.dtypes)
    assert not padded.features.libdevice
    assert padded.features.atomics == ()
    assert not any(name.startswith("atomic") for name in padded.tl_allow)
    assert padded.tl_allow < find_profile("interpreter").tl_allow
    assert len(padded.tl_allow) < 80


def test_a_profile_inherits_and_overrides_by_key():
    sm80, sm90 = find_profile("sm80"), find_profile("sm90")
    assert sm90.tl_allow == sm80.tl_allow
    assert sm90.features.atomics == sm80.features.atomics
    assert "float8_e5m2" in sm90.features.dot_dtypes
    assert "float8_e5m2" not in sm80.features.dot_dtypes


def test_profiles_survive_json():
    for name in ALL:
        profile = find_profile(name)
        assert DeviceProfile.model_validate_json(profile.model_dump_json()) == profile


def test_an_unknown_profile_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'sm90'"):
        find_profile("sm9")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"algin_bytes": 16}, "did you mean 'align_bytes'"),
        ({"features": {"scater": True}}, "did you mean 'scatter'"),
        ({"block_policy": {"pointwise": 1000}}, "1000; Triton's blocks are powers of two"),
        ({"dtypes": ["float33"]}, "did you mean float32"),
        ({"features": {"fp64": False}}, "must go together"),
        ({"features": {"atomics": ["float8_e5m2"]}}, "which dtypes does not list"),
        ({"max_numel": 1024}, "above max_numel 1024"),
        ({"align_bytes": 0}, "greater than 0"),
        ({"kind": "tpu"}, "interpreter"),
        ({"tl_drop": ["no_such_function"]}, "not allowed anyway"),
    ],
)
def test_a_wrong_field_is_named(values, said, folder):
    written(folder, "mine", extends="interpreter", **values)
    with pytest.raises(ConfigError, match=said):
        find_profile("mine", folder)


def test_files_that_are_no_profile_are_named(folder):
    (folder / "broken.yaml").write_text("a: [")
    (folder / "list.yaml").write_text("- a")
    written(folder, "one", extends="two")
    written(folder, "two", extends="one")
    written(folder, "orphan", extends="interpeter")
    with pytest.raises(ConfigError, match="no YAML"):
        find_profile("broken", folder)
    with pytest.raises(ConfigError, match="no mapping"):
        find_profile("list", folder)
    with pytest.raises(ConfigError, match="one -> two -> one"):
        find_profile("one", folder)
    with pytest.raises(UnknownNameError, match="did you mean 'interpreter'"):
        find_profile("orphan", folder)
    with pytest.raises(DatasetMissingError, match="no folder"):
        profile_names(folder / "nowhere")


def test_a_profile_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        find_profile("sm90").align_bytes = 64
