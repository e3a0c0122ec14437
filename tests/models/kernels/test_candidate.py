import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.errors import UnknownNameError
from models.kernels import IMPORT_HEADER, KernelCandidate, load_module, source_sha
from models.kernels.candidate import HEADER_LINES, BrokenModuleError

SOURCE = "def wrapper(self):\n    return math.ceil(self)\n"


def test_the_hash_is_that_of_the_authors_text_alone():
    candidate = KernelCandidate.of("ceil", SOURCE)
    assert candidate.sha == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert candidate.sha != source_sha(IMPORT_HEADER + SOURCE)


def test_a_candidate_survives_json():
    candidate = KernelCandidate.of(
        "log_softmax",
        SOURCE,
        mode="self_consistent",
        depends_on=("softmax", "log"),
        proposer="synthesizer",
        call_no=3,
    )
    again = KernelCandidate.model_validate_json(candidate.model_dump_json())
    assert again == candidate
    assert json.loads(candidate.model_dump_json())["depends_on"] == ["softmax", "log"]


def test_a_text_that_does_not_hash_to_the_sha_is_refused():
    with pytest.raises(ValidationError, match=r"KernelCandidate\.of"):
        KernelCandidate(sha="0" * 64, op_id="ceil", source=SOURCE)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"depends_on": ("log",)}, "strict module depends on nothing"),
        ({"mode": "self_consistent", "depends_on": ("ceil",)}, "depends on itself"),
        ({"mode": "loose"}, "strict"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        KernelCandidate.of("ceil", SOURCE, **fields)


def test_a_module_is_loaded_from_a_file_behind_the_header(tmp_path):
    candidate = KernelCandidate.of("ceil", SOURCE)
    module = load_module(candidate, tmp_path / "modules")
    assert module.wrapper(2.5) == 3
    assert module.__file__ is not None
    written = list((tmp_path / "modules").iterdir())
    assert [str(file) for file in written] == [module.__file__]
    assert written[0].read_text() == IMPORT_HEADER + SOURCE
    assert module.wrapper.__code__.co_firstlineno == 1 + HEADER_LINES


def test_a_damaged_file_of_an_earlier_run_is_written_again(tmp_path):
    candidate = KernelCandidate.of("ceil", SOURCE)
    file = load_module(candidate, tmp_path).__file__
    with open(file, "w") as damaged:
        damaged.write("def wrapper(self):\n    return 'damaged'\n")
    assert load_module(candidate, tmp_path).wrapper(0.5) == 1


def test_triton_reads_the_source_of_a_loaded_kernel(tmp_path):
    kernel = "@triton.jit\ndef kernel_one(x_ptr):\n    tl.store(x_ptr, 1)\n\n\n"
    module = load_module(KernelCandidate.of("one", kernel + SOURCE), tmp_path)
    assert "tl.store(x_ptr, 1)" in module.kernel_one.src


def test_a_self_consistent_module_gets_what_it_depends_on_and_nothing_else(tmp_path):
    source = 'def wrapper(self):\n    return generated["double"](self) + len(generated)\n'
    candidate = KernelCandidate.of("quad", source, mode="self_consistent", depends_on=("double",))
    others = {"double": lambda x: 2 * x, "triple": lambda x: 3 * x}
    assert load_module(candidate, tmp_path, others).wrapper(5) == 11
    with pytest.raises(UnknownNameError, match="did you mean 'doubles'"):
        load_module(candidate, tmp_path, {"doubles": lambda x: x})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def wrapper(:\n", "SyntaxError"),
        ("X = undefined\n", "NameError"),
        ("def wraper(self):\n    return self\n", "no function 'wrapper'"),
        ("\ud800\n", "does not import"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_named_with_the_reason(source, said, tmp_path):
    with pytest.raises(BrokenModuleError, match=said):
        load_module(KernelCandidate.of("op", source), tmp_path)


def test_importing_the_room_loads_neither_torch_nor_triton():
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, models.kernels; print({'torch', 'triton', 'numpy'} & set(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert told.stdout.strip() == "set()"
