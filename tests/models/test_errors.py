import errno
import pickle

import pytest
from tblib import pickling_support

from models import errors


def test_a_full_disk_is_recognised_through_the_layers_above_it():
    assert errors.is_storage_full(OSError(errno.ENOSPC, "No space left on device"))
    assert errors.is_storage_full(RuntimeError("(OperationalError) database or disk is full"))
    outer = RuntimeError("could not save")
    outer.__cause__ = OSError(errno.EDQUOT, "quota")
    assert errors.is_storage_full(outer)
    assert not errors.is_storage_full(OSError(errno.EACCES, "denied"))


def _interrupted() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise ValueError("task run is not set")  # noqa: B904 - as libraries do


def test_ctrl_c_is_recognised_behind_what_a_library_raises_while_it_cleans_up():
    with pytest.raises(ValueError, match="not set") as raised:
        _interrupted()
    assert errors.is_interruption(raised.value)
    assert errors.is_interruption(KeyboardInterrupt())
    assert not errors.is_interruption(ValueError("of its own"))


def test_an_unknown_name_lists_what_exists_and_guesses():
    error = errors.unknown_name(
        "flow", "plan-upgrade", ["plan-upgrades", "other"], "see: loom list"
    )
    assert str(error) == (
        "no flow named 'plan-upgrade'; did you mean 'plan-upgrades'?; "
        "known: other, plan-upgrades; see: loom list"
    )


def test_nothing_near_is_not_guessed():
    assert "did you mean" not in str(errors.unknown_name("flow", "zzz", ["plan-upgrades"]))


@pytest.mark.parametrize(
    "kind",
    [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ProjectError)
    ],
)
def test_every_error_refines_a_builtin_and_survives_pickling(kind: type[errors.ProjectError]):
    # As Dask installs it in every process that imports it.
    pickling_support.install()
    error = pickle.loads(pickle.dumps(kind("asked; found; way out")))
    assert str(error) == "asked; found; way out"
    assert 0 < error.exit_code < 128
    if kind is not errors.ProjectError:
        builtins = [base for base in kind.__mro__ if base.__module__ == "builtins"]
        assert len([b for b in builtins if b not in (Exception, BaseException, object)]) >= 1


def test_a_contract_error_carries_its_page_through_a_pickle():
    error = pickle.loads(pickle.dumps(errors.ContractError("broken", "<html>")))
    assert (str(error), error.page) == ("broken", "<html>")
