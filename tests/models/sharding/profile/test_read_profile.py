import gzip
import shutil

import pandas as pd
import pytest

from models.errors import ConfigError, DatasetMissingError, DatasetUnreadableError
from models.sharding.profile import read_profile


def test_each_shipped_file_is_told_by_its_content(shipped, job, layout, tmp_path):
    table = pd.read_csv(shipped / "profiles.csv")
    sources = {"HLO text": {"cpu_hlo", "tpu_aot"}, "XSpace": {"xprof"},
               "MaxText output": {"maxtext_log"}}  # fmt: skip
    for row in table.itertuples():
        plain = tmp_path / "without_suffix"
        data = (shipped / row.file).read_bytes()
        plain.write_bytes(gzip.decompress(data) if row.file.endswith(".gz") else data)
        is_log = row.kind == "MaxText output"
        asked = (None, None) if is_log else (job, layout)
        found = read_profile(shipped / row.file, *asked)
        assert found.source in sources[row.kind]
        assert found.digest == read_profile(plain, *asked).digest
        if is_log:
            assert found.layout.text().startswith(row.layout)
        elif row.kind == "HLO text":
            assert ";".join(map(str, found.trip_counts)) == row.trips


def test_the_compiler_is_told_by_its_tiles(shipped, job, layout):
    assert read_profile(shipped / "train_v5e.hlo.gz", job, layout).source == "tpu_aot"
    assert read_profile(shipped / "train_cpu.hlo.gz", job, layout).source == "cpu_hlo"


def test_a_folder_of_the_profiler_is_read_and_a_chrome_trace(compiled):
    assert read_profile(compiled.folder / "trace").source == "xprof"
    assert read_profile(compiled.chrome).source == "xprof"


def test_hlo_needs_a_job(shipped):
    with pytest.raises(ConfigError, match="give the job and the layout"):
        read_profile(shipped / "train_v5e.hlo.gz")


def test_what_is_missing_or_of_no_known_kind_is_refused(tmp_path, shipped):
    with pytest.raises(DatasetMissingError, match="does not exist; expected one of: HLO text"):
        read_profile(tmp_path / "none")
    with pytest.raises(DatasetMissingError, match=r"holds no \*.xplane.pb"):
        read_profile(tmp_path)
    other = tmp_path / "other"
    for content in (b"", b"\x00\x01", b"PK\x03\x04", b"hello"):
        other.write_bytes(content)
        with pytest.raises(DatasetUnreadableError, match="expected one of"):
            read_profile(other)
    cut = tmp_path / "cut.gz"
    shutil.copy(shipped / "train_v5e.hlo.gz", cut)
    cut.write_bytes(cut.read_bytes()[:3000])
    with pytest.raises(DatasetUnreadableError, match="no whole gzip file"):
        read_profile(cut)
