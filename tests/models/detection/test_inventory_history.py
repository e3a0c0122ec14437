"""Packages that servers are started from, what is installed, and both over time."""

from __future__ import annotations

import errno
import json
import os
import random
import stat
from pathlib import Path
from typing import Any

import pytest

from models.detection.config import DetectConfig
from models.detection.gathering import gather
from models.detection.listed import Listed, list_items
from models.detection.report.inventory import inventory_section
from models.detection.secrets.generate import drawn
from models.detection.secrets.rules import read_rules
from models.detection.sensor import inventory_history
from models.detection.sensor.inventory import Item, compare, inventory, projects_of
from models.detection.sensor.inventory_history import InventoryHistory
from models.detection.sensor.packages import installed_npm, installed_tools, packages_of
from models.errors import DataError, StorageFullError

SHA = "a" * 64
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("npx -y @scope/files /srv", [("npm", "@scope/files", "", False)]),
        ("npx --yes @scope/files@1.2.3 /srv", [("npm", "@scope/files", "1.2.3", True)]),
        ("npx files@latest", [("npm", "files", "latest", False)]),
        ("npx files@^1.2.3", [("npm", "files", "^1.2.3", False)]),
        ("npx files@1.2.x", [("npm", "files", "1.2.x", False)]),
        ("npx files@2.0.0-beta.1", [("npm", "files", "2.0.0-beta.1", True)]),
        ("npx -p one@1.0.0 --package=two -c one", [("npm", "one", "1.0.0", True),
                                                   ("npm", "two", "", False)]),
        ("cmd /c npx.cmd -y files", [("npm", "files", "", False)]),
        ("env A=1 npx files", [("npm", "files", "", False)]),
        (f"npx github:me/files#{COMMIT}", [("npm", "github:me/files", COMMIT, True)]),
        ("npx github:me/files#main", [("npm", "github:me/files", "main", False)]),
        ("npx ./server.js", []),
        ("npm exec -- files@1.0.0", [("npm", "files", "1.0.0", True)]),
        ("pnpm dlx files", [("npm", "files", "", False)]),
        ("/usr/bin/uvx mcp-fetch", [("python", "mcp-fetch", "", False)]),
        ("uvx mcp-fetch==2025.4.7", [("python", "mcp-fetch", "2025.4.7", True)]),
        ("uvx mcp-fetch@2025.4.7", [("python", "mcp-fetch", "2025.4.7", True)]),
        ("uvx mcp-fetch@latest", [("python", "mcp-fetch", "latest", False)]),
        ("uvx mcp-fetch==1.*", [("python", "mcp-fetch", "1.*", False)]),
        ("uvx --python 3.12 --from tools[a,b]>=1,<2 serve", [("python", "tools", ">=1,<2", False)]),
        ("uvx --with a==1.0,b serve==2.0", [("python", "serve", "2.0", True),
                                            ("python", "a", "1.0", True),
                                            ("python", "b", "", False)]),
        (f"uvx --from git+https://x.example/r@{COMMIT} serve",
         [("python", "git+https://x.example/r", COMMIT, True)]),
        ("uvx --from git+ssh://git@x.example/r serve",
         [("python", "git+ssh://git@x.example/r", "", False)]),
        ("uv --directory /srv run server.py", []),
        ("uv run --with mcp[cli] mcp run server.py", [("python", "mcp", "", False)]),
        ("uv tool run mcp-fetch", [("python", "mcp-fetch", "", False)]),
        ("pipx run --spec tools==1.0 serve", [("python", "tools", "1.0", True)]),
        ("pipx run serve", [("python", "serve", "", False)]),
        ("docker run -i --rm -e TOKEN --mount type=bind,src=/a,dst=/b mcp/files /b",
         [("image", "mcp/files", "", False)]),
        ("docker run -it -v/a:/b --network host localhost:5000/mcp/files:1.2",
         [("image", "localhost:5000/mcp/files", "1.2", False)]),
        (f"podman run --rm ghcr.io/x/y@sha256:{SHA}",
         [("image", "ghcr.io/x/y", f"sha256:{SHA}", True)]),
        ("docker compose run files", []),
        ("docker run -i", []),
        ("npx -y", []),
        ("python server.py", []),
    ],
)  # fmt: skip
def test_a_command_line_tells_its_packages_and_whether_they_are_pinned(
    command: str, wanted: list[Any]
):
    assert [tuple(one[:4]) for one in packages_of(command.split())] == wanted


def tool(home: Path, place: str, version: str, *, files: str = "a.py,sha256=x,1\n") -> None:
    for name, record in (("mcp_fetch", files), ("httpx", "httpx.py,sha256=y,1\n")):
        number = version if name == "mcp_fetch" else "0.28.1"
        site = home / place / "mcp-fetch" / "lib" / "python3.12" / "site-packages"
        (site / f"{name}-{number}.dist-info").mkdir(parents=True)
        (site / f"{name}-{number}.dist-info" / "RECORD").write_text(record)


def test_tools_of_pipx_and_uv_have_a_version_and_a_digest_of_all_that_they_load(tmp_path: Path):
    places = (".local/pipx/venvs", ".local/share/pipx/venvs", ".local/share/uv/tools")
    for place in places:
        tool(tmp_path, place, "1.4.0")
    found = list(installed_tools(tmp_path))
    assert [(one.installer, one.name, one.version) for one in found] == [
        ("pipx", "mcp-fetch", "1.4.0"), ("pipx", "mcp-fetch", "1.4.0"), ("uv", "mcp-fetch", "1.4.0")
    ]  # fmt: skip
    assert len({one.digest for one in found}) == 1
    other = tmp_path / "other"
    tool(other, places[2], "1.4.0", files="a.py,sha256=changed,1\n")
    (changed,) = installed_tools(other)
    assert changed.digest != found[0].digest
    dependency = next((tmp_path / places[2]).rglob("httpx-*/RECORD"))
    dependency.write_text("httpx.py,sha256=changed,1\n")
    assert list(installed_tools(tmp_path))[2].digest != found[2].digest


def test_a_global_npm_package_is_read_where_a_command_names_its_path(tmp_path: Path):
    folder = tmp_path / "lib" / "node_modules" / "@scope" / "files"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text('{"name": "@scope/files", "version": "3.1.0"}')
    (folder / "dist" / "index.js").write_text("serve()")
    command = ["node", "~/lib/node_modules/@scope/files/dist/index.js"]
    (found,) = installed_npm(command, tmp_path)
    assert (found.name, found.version, found.path) == ("@scope/files", "3.1.0", folder)
    (folder / "dist" / "index.js").write_text("serve(); steal()")
    (after,) = installed_npm(command, tmp_path)
    assert after.digest != found.digest
    (folder / "package.json").write_text("{")
    assert installed_npm(command, tmp_path) == []


def servers(home: Path, **entries: list[str]) -> None:
    values = {name: {"command": args[0], "args": args[1:]} for name, args in entries.items()}
    (home / ".claude.json").write_text(json.dumps({"mcpServers": values}))


def test_an_inventory_names_packages_beside_their_servers_without_credentials(tmp_path: Path):
    rules = {rule.id: rule for rule in read_rules()}
    token = drawn(rules["github_token"], random.Random(6))
    servers(tmp_path, files=["npx", "-y", "files@1.0.0"],
            git=["uvx", "--from", f"git+https://{token}@x.example/r", "serve"])  # fmt: skip
    found = {item.name: item for item in inventory(tmp_path)}
    assert {"files", "files npm:files", "git"} <= found.keys()
    assert (found["files npm:files"].version, found["files npm:files"].is_pinned) == ("1.0.0", True)
    assert token not in repr(found)


def test_projects_that_agents_were_started_in_are_looked_at_too(tmp_path: Path):
    project = tmp_path / "work"
    project.mkdir()
    (project / "CLAUDE.md").write_text("Be brief.")
    named = {str(project): {}, "/elsewhere": {}, str(tmp_path): {}, "\0": {}}
    (tmp_path / ".claude.json").write_text(json.dumps({"projects": named}))
    assert projects_of(tmp_path) == [project]
    (tmp_path / ".claude.json").write_text("{")
    assert projects_of(tmp_path) == []


def item(name: str, digest: str, path: str = "/h/.claude.json", **more: Any) -> Item:
    return Item("mcp_server", Path(path), name, digest, **more)


def observed(file: Path, items: list[Item], now_s: float) -> tuple[Any, InventoryHistory]:
    history = InventoryHistory(file)
    changes = history.observe(items, now_s)
    history.save()
    return changes, InventoryHistory(file)


def test_each_change_is_a_line_with_when_it_was_seen_first_and_last(tmp_path: Path):
    file = tmp_path / "deep" / "inventory.jsonl"
    changes, history = observed(file, [item("a", "1"), item("b", "1")], 10.0)
    assert changes == ((), (), ())  # nothing to compare with
    changes, history = observed(file, [item("a", "1"), item("b", "1", shown="told anew")], 20.0)
    assert changes == ((), (), ())
    changes, history = observed(file, [item("a", "2"), item("c", "1")], 30.0)
    assert [one.name for one in changes.added] == ["c"]
    assert [one.name for one in changes.removed] == ["b"]
    assert [(old.digest, new.digest) for old, new in changes.changed] == [("1", "2")]
    changes, history = observed(file, [item("a", "1"), item("b", "1"), item("c", "1")], 40.0)
    assert [one.name for one in changes.added] == ["b"]
    told = [(x.name, x.digest, x.first_s, x.last_s, x.gone_s) for x in history.lines()]
    assert told == [
        ("a", "1", 10.0, 20.0, 30.0), ("b", "1", 10.0, 20.0, 30.0), ("c", "1", 30.0, 40.0, None),
        ("a", "2", 30.0, 30.0, 40.0), ("b", "1", 40.0, 40.0, None), ("a", "1", 40.0, 40.0, None),
    ]  # fmt: skip
    assert len(file.read_text().splitlines()) == 1 + len(told)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {one.name: one.digest for one in history.current()} == {"a": "1", "b": "1", "c": "1"}


def test_what_an_unreadable_configuration_named_is_neither_there_nor_gone(tmp_path: Path):
    file = tmp_path / "inventory.jsonl"
    observed(file, [item("a", "1")], 10.0)
    broken = Item("unreadable", Path("/h/.claude.json"), "", "9", "no JSON")
    changes, _ = observed(file, [broken], 20.0)
    assert ([one.sort for one in changes.added], changes.removed) == (["unreadable"], ())
    changes, history = observed(file, [item("a", "2")], 30.0)
    assert [(old.digest, new.digest) for old, new in changes.changed] == [("1", "2")]
    assert [one.sort for one in changes.removed] == ["unreadable"]
    assert [one.last_s for one in history.lines() if one.digest == "1"] == [10.0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-20],
        lambda raw: b"\0" * len(raw),
        lambda raw: b"",
        lambda raw: raw.replace(b"loom-inventory/1", b"loom-inventory/9"),
        lambda raw: raw.replace(b'"first_s":10.0', b'"first_s":1e300'),
    ],
)
def test_a_damaged_history_is_kept_aside_told_and_begun_anew(tmp_path: Path, damage: Any):
    file = tmp_path / "inventory.jsonl"
    for number in (1, 2):
        observed(file, [item("a", "1")], 10.0)
        file.write_bytes(broken := damage(file.read_bytes()))
        history = InventoryHistory(file)
        assert history.damaged == tmp_path / f"inventory.damaged-{number}.jsonl"
        assert history.damaged.read_bytes() == broken
        assert history.why
        assert history.is_new
    assert observed(file, [item("a", "2")], 20.0)[0] == ((), (), ())
    assert InventoryHistory(file).damaged is None


def test_a_full_disk_leaves_the_history_as_it_was(tmp_path: Path, monkeypatch):
    file = tmp_path / "inventory.jsonl"
    observed(file, [item("a", "1")], 10.0)
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(inventory_history.os, "fsync", full)
    with pytest.raises(StorageFullError, match="no space left in"):
        observed(file, [item("a", "2")], 20.0)
    assert os.listdir(tmp_path) == [file.name]
    assert file.read_bytes() == before


def test_only_a_home_folder_has_an_inventory_and_its_tables_tell_all(tmp_path: Path):
    home = tmp_path / "user"
    (home / ".claude" / "projects" / "-x").mkdir(parents=True)
    (home / ".claude" / "projects" / "-x" / "s.jsonl").write_text("{}\n")
    servers(home, files=["npx", "-y", "files"], **{"<b>": ["uvx", "b==1.0"]})
    config = DetectConfig(data=home)
    assert list_items(DetectConfig(), tmp_path / "loom", 10.0) is None
    assert list_items(DetectConfig(data=tmp_path), tmp_path / "loom", 10.0) is None
    first = list_items(config, tmp_path / "loom", 10.0)
    assert first is not None
    assert first.is_first
    assert first.figures() == {
        "inventory/items": 4, "inventory/added": 0, "inventory/changed": 0,
        "inventory/removed": 0, "inventory/unpinned": 1,
    }  # fmt: skip
    assert "nothing to compare with" in inventory_section(first)
    servers(home, files=["npx", "-y", "files@2.0.0"])
    second = list_items(config, tmp_path / "loom", 86_400.0)
    assert second is not None
    told = second.changes_frame()
    assert sorted(zip(told["change"], told["name"], strict=True)) == [
        ("changed", "files"), ("changed", "files npm:files"), ("removed", "<b>"),
        ("removed", "<b> python:b"),
    ]  # fmt: skip
    (row,) = told[told["name"] == "files npm:files"].to_dict("records")
    assert (row["version_before"], row["version"]) == ("", "2.0.0")
    frame = second.frame()
    assert set(frame["first_seen"]) == {"1970-01-02T00:00:00Z"}  # both changed then
    page = inventory_section(second)
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "before: npx -y files" in page


def test_a_history_that_was_damaged_is_told_on_the_page():
    listed = Listed((), compare([], []), True, Path("/h/inventory.damaged-1.jsonl"), "<cut>")
    page = inventory_section(listed)
    assert "/h/inventory.damaged-1.jsonl" in page
    assert "&lt;cut&gt;" in page


def test_data_that_links_lead_nowhere_or_round_is_told_as_what_it_is(tmp_path: Path):
    ring, long = tmp_path / "ring", tmp_path / "long"
    ring.symlink_to(ring)
    long.symlink_to("x" * 300)
    for data, why in (
        (ring, "(Too many levels of symbolic links|symbolic link)"),
        (long, "File name too long"),
        (Path("/" + "w/" * 3_000), "File name too long"),
        (Path("~nobody-of-this-name/logs"), "home directory"),
    ):
        with pytest.raises(DataError, match=why):
            list_items(DetectConfig(data=data), tmp_path / "loom", 10.0)
        with pytest.raises(DataError, match=why):
            gather(DetectConfig(data=data), tmp_path / "loom")
