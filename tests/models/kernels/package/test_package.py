import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import UnknownNameError
from models.kernels.candidate import KernelCandidate, source_sha
from models.kernels.package import (
    DependencyError,
    FolderTakenError,
    PackageDamagedError,
    PackageEntry,
    PackageMissingError,
    dependency_order,
    read_package,
    write_package,
)
from models.kernels.package.order import called_by
from models.settings import ROOT
from tests.models.kernels.package.modules import ABS, NEG, compiled, entry, report_of, three


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_package(tmp_path / "package", three(), versions={"torch": "2.13.0"})
    return tmp_path / "package"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if not p.is_dir()}


def rewrite_manifest(folder: Path, **changes: object) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**values, **changes}))


def test_what_was_written_is_read_back_with_the_same_sources(folder: Path) -> None:
    package = read_package(folder)
    for one in three():
        assert package.candidate(one.meta.op_id) == one.candidate
        assert package.meta(one.meta.op_id) == one.meta
    assert package.manifest.versions == {"torch": "2.13.0"}
    assert package.manifest.licence == "Apache-2.0"


def test_the_same_entries_in_another_order_give_the_same_bytes(folder: Path) -> None:
    other = folder.parent / "other"
    write_package(other, reversed(three()), versions={"torch": "2.13.0"})
    assert files_of(other) == files_of(folder)


def test_every_operator_has_a_folder_whose_text_follows_the_licence_and_imports(
    folder: Path,
) -> None:
    text = (folder / "operators/abs/kernel.py").read_text()
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert text.endswith(ABS)
    compile(text, "kernel.py", "exec")
    meta = json.loads((folder / "operators/abs/meta.json").read_text())
    assert meta["sha"] == source_sha(ABS)


def test_the_order_puts_modules_after_what_they_call(folder: Path) -> None:
    package = read_package(folder)
    assert package.operators == ("abs", "neg", "positive")
    assert [one.op_id for one in package.dependencies("positive")] == ["abs", "neg"]
    assert package.dependencies("abs") == ()


def test_calls_are_followed_through_other_modules() -> None:
    graph = {"a": ["b"], "b": ["c"], "c": [], "d": ["c"]}
    assert called_by("a", graph) == ("c", "b")
    assert dependency_order(graph) == ("c", "b", "d", "a")


def test_modules_that_call_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    one, two = entry("abs", ABS, "neg"), entry("neg", NEG, "abs")
    with pytest.raises(DependencyError, match=r"circle: (abs -> neg -> abs|neg -> abs -> neg)"):
        write_package(tmp_path / "package", [one, two])
    assert list(tmp_path.iterdir()) == []


def test_a_call_of_a_module_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="positive calls the module of neg"):
        write_package(tmp_path / "package", [three()[0], entry("abs", ABS)])


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "", "a..b", "a b", ".hidden"])
def test_a_name_that_would_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no operator's name"):
        entry(name, ABS)


def test_two_modules_for_one_operator_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two modules for abs"):
        write_package(tmp_path / "package", [entry("abs", ABS), entry("abs", NEG)])


@pytest.mark.parametrize("file", ["operators/abs/kernel.py", "operators/neg/meta.json", "NOTICE"])
def test_one_changed_byte_is_found_and_the_file_is_named(folder: Path, file: str) -> None:
    raw = bytearray((folder / file).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / file).write_bytes(raw)
    with pytest.raises(PackageDamagedError, match=f"{file} was changed"):
        read_package(folder)


@pytest.mark.parametrize("file", ["operators/abs/kernel.py", "operators/neg/meta.json"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(PackageMissingError, match=f"lacks 1 of 7 files, the first is {file}"):
        read_package(folder)


def test_a_folder_without_manifest_is_no_package(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(PackageMissingError, match=r"has no manifest\.json"):
        read_package(folder)
    shutil.rmtree(folder)
    with pytest.raises(PackageMissingError, match="no package at"):
        read_package(folder)


def test_a_file_that_the_manifest_does_not_name_is_found(folder: Path) -> None:
    (folder / "operators/abs/extra.py").write_text("import os")
    with pytest.raises(PackageDamagedError, match=r"holds operators/abs/extra\.py"):
        read_package(folder)


def test_a_link_to_a_file_outside_is_refused(folder: Path, tmp_path: Path) -> None:
    target = folder / "operators/abs/kernel.py"
    target.rename(tmp_path / "outside.py")
    target.symlink_to(tmp_path / "outside.py")
    with pytest.raises(PackageDamagedError, match="is a link"):
        read_package(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\x00\x01"])
def test_a_manifest_that_cannot_be_read_is_an_error_of_this_project(
    folder: Path, text: str
) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(PackageDamagedError, match=r"manifest\.json cannot be read"):
        read_package(folder)


def test_a_package_of_another_format_is_refused(folder: Path) -> None:
    rewrite_manifest(folder, format=2)
    with pytest.raises(PackageDamagedError, match="has format 2, this version reads 1"):
        read_package(folder)


def test_a_manifest_whose_order_or_sources_contradict_its_files_is_refused(folder: Path) -> None:
    rewrite_manifest(folder, order=["positive", "abs", "neg"])
    with pytest.raises(PackageDamagedError, match="order is not that of its dependencies"):
        read_package(folder)
    operators = json.loads((folder / "manifest.json").read_text())["operators"]
    operators["abs"]["sha"] = source_sha(NEG)
    rewrite_manifest(folder, operators=operators)
    with pytest.raises(PackageDamagedError, match="operators/abs: the source is"):
        read_package(folder)


def test_a_package_rewritten_as_a_whole_is_found_by_the_hash_of_its_manifest(folder: Path) -> None:
    sha = read_package(folder).sha
    assert read_package(folder, sha).sha == sha
    write_package(folder, [entry("abs", NEG)], replace=True)
    assert read_package(folder).candidate("abs").source == NEG
    with pytest.raises(PackageDamagedError, match="asked for"):
        read_package(folder, sha)


def test_a_package_is_replaced_only_when_asked_and_other_folders_never(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(FolderTakenError, match="holds a package already"):
        write_package(folder, three())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(FolderTakenError, match="is no package"):
        write_package(tmp_path / "mine", three(), replace=True)
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"


def test_a_failure_while_writing_leaves_the_former_package_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, names = files_of(folder), {p.name for p in folder.parent.iterdir()}
    rename = Path.rename

    def fails_once(self: Path, target: Path) -> Path:
        if target == folder and self.name.startswith(f".{folder.name}-"):
            raise OSError("the disk went away")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(OSError, match="went away"):
        write_package(folder, [entry("abs", NEG)], replace=True)
    assert files_of(folder) == before
    assert {p.name for p in folder.parent.iterdir()} == names


def test_bytecode_that_python_left_does_not_damage_a_package(folder: Path) -> None:
    (folder / "operators/abs/__pycache__").mkdir()
    (folder / "operators/abs/__pycache__/kernel.cpython-311.pyc").write_bytes(b"x")
    assert len(read_package(folder)) == 3


def test_an_unknown_operator_names_one_that_is_like_it(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="no operator named 'POSITIV'"):
        read_package(folder).candidate("POSITIV")


def test_the_description_follows_from_tests_and_compilers() -> None:
    policy = json.dumps({"rules": ["pointwise"], "signature": "abs(Tensor self) -> Tensor"})
    candidate = KernelCandidate.of("abs", ABS, proposer="synthesizer", policy=policy)
    reports = [report_of(candidate, "V1"), report_of(candidate, "S", failing="int64")]
    results = [
        compiled(candidate, "sm90", True),
        compiled(candidate, "sm80", True),
        compiled(candidate, "sm90", False),
    ]
    meta = PackageEntry.of(candidate, reports=reports, compiled=results, evidence=["e1"]).meta
    assert meta.rules == ("pointwise",)
    assert meta.signature == "abs(Tensor self) -> Tensor"
    assert meta.dtypes == ("float32",)
    assert meta.targets == ("sm80",)
    assert [(t.suite, t.passed, t.total, t.status) for t in meta.tests] == [
        ("S", 3, 4, "failed"),
        ("V1", 4, 4, "kernel"),
    ]
    assert meta.evidence == ("e1",)
    assert not meta.is_hand_written


def test_evidence_of_another_source_is_refused() -> None:
    candidate, other = KernelCandidate.of("abs", ABS), KernelCandidate.of("abs", NEG)
    with pytest.raises(ValueError, match="evidence of source"):
        PackageEntry.of(candidate, reports=[report_of(other)])
    with pytest.raises(ValueError, match="evidence of source"):
        PackageEntry.of(candidate, compiled=[compiled(other, "sm90", True)])


def test_a_source_with_surrogates_is_packed_and_read(tmp_path: Path) -> None:
    source = ABS + '\nNAME = "\ud800é"\n'
    write_package(tmp_path / "package", [entry("abs", source)])
    assert read_package(tmp_path / "package").candidate("abs").source == source


WRITES_UNTIL_KILLED = """
import os, signal, sys
from pathlib import Path
from models.kernels.package import folder
written = 0
put = folder._put
def kills_itself(file, content):
    global written
    put(file, content[: len(content) // 2])
    written += 1
    if written == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    put(file, content)
folder._put = kills_itself
from tests.models.kernels.package.modules import NEG, entry
from models.kernels.package import write_package
write_package(Path(sys.argv[1]), [entry("abs", NEG)], replace=True)
"""


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_writer_killed_at_any_file_leaves_the_former_package_whole(folder: Path, at: int) -> None:
    before = read_package(folder)
    done = subprocess.run(
        [sys.executable, "-c", WRITES_UNTIL_KILLED, str(folder), str(at)], cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert read_package(folder).sha == before.sha
