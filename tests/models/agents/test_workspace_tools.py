"""The tools that touch the workspace, on the trusted and on the sandboxed level.

Names begin with the number of the behaviour that they pin down.
"""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.agents.errors import ToolArgumentsError, ToolError
from models.agents.tools import Observation, Tool, ToolContext
from models.agents.tools.editor import create, insert, str_replace, undo_edit, view
from models.agents.tools.patch import apply_patch
from models.agents.tools.search import glob, grep
from models.agents.tools.terminal import terminal
from models.agents.tools.todo import todo
from models.agents.workspace.folder import LocalWorkspace, SandboxWorkspace
from models.sandbox import SandboxUnavailableError

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def _context(kind: type[LocalWorkspace], root: Path, **parts: Any) -> Iterator[ToolContext]:
    workspace = kind(root)
    try:
        _ = workspace.sandbox
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")
    ctx = ToolContext(workspace, **parts)
    yield ctx
    asyncio.run(ctx.session.aclose())
    workspace.close()


@pytest.fixture(params=[LocalWorkspace, SandboxWorkspace])
def ctx(request: pytest.FixtureRequest, root: Path) -> Iterator[ToolContext]:
    """A context on either level."""
    yield from _context(request.param, root)


@pytest.fixture
def confined(root: Path) -> Iterator[ToolContext]:
    """A context behind the sandbox."""
    yield from _context(SandboxWorkspace, root)


def call(tool: Tool, ctx: ToolContext, /, **arguments: Any) -> Observation:
    return asyncio.run(tool(ctx, **arguments))


def test_behaviour_49_folder_and_variables_persist_reset_clears_and_exit_codes_are_exact(
    ctx: ToolContext, root: Path
) -> None:
    call(terminal, ctx, command="mkdir d; cd d; export COLOUR=red")
    seen = call(terminal, ctx, command='pwd; echo "$COLOUR"; (exit 3)')
    assert seen.text.startswith(f"{root}/d\nred\n[exit code 3 after ")
    assert (seen.data["exit_code"], seen.data["cwd"]) == (3, f"{root}/d")
    assert call(terminal, ctx, command="echo [$COLOUR]", reset=True).text.startswith("[]\n")
    assert call(terminal, ctx, command="pwd").text.startswith(f"{root}\n")


@pytest.mark.parametrize(
    "wrong", [{"kill_after_s": 3e6}, {"kill_after_s": float("inf")}, {"timeout_s": float("nan")}]
)
def test_a_command_may_live_for_a_day_and_times_are_numbers(wrong: dict[str, float]):
    assert terminal.validate({"kill_after_s": 86_400})["kill_after_s"] == 86_400
    with pytest.raises(ToolArgumentsError, match=r"less than or equal to 86400|a finite number"):
        terminal.validate({"command": "true", **wrong})


def test_behaviour_50_silent_commands_are_said_to_run_polled_interrupted_and_killed(
    ctx: ToolContext,
) -> None:
    first = call(terminal, ctx, command="echo a; sleep 0.5; echo b", timeout_s=0.1)
    assert first.text.startswith("a\n[still running")
    with pytest.raises(ToolError, match="still runs"):
        call(terminal, ctx, command="echo c")
    assert call(terminal, ctx, timeout_s=10).text.startswith("a\nb\n[exit code 0")
    call(terminal, ctx, command="sleep 60", timeout_s=0.1)
    stopped = call(terminal, ctx, command="C-c", is_input=True)
    assert stopped.data["exit_code"] == 130
    killed = call(terminal, ctx, command="sleep 60", timeout_s=10, kill_after_s=0.2)
    assert killed.data["status"] == "killed"
    assert "killed after" in killed.text


def test_behaviour_51_ten_megabytes_are_cut_with_head_tail_and_a_file_that_has_all(
    ctx: ToolContext,
) -> None:
    seen = call(terminal, ctx, command="seq 2000000 | head -c 10000000", timeout_s=60)
    assert len(seen.text) < 31_000
    assert seen.text.startswith("1\n2\n")
    assert seen.data["output_bytes"] == 10_000_000
    whole = seen.data["full_output"]
    assert whole in seen.text
    assert call(terminal, ctx, command=f"wc -c < {whole}").text.startswith("10000000\n")


def test_behaviour_52_heredocs_input_exit_and_background_work(ctx: ToolContext) -> None:
    script = "cat <<'X'\n'quotes' \"ünï\" $no\nX\nfor i in 1 2\ndo echo $i\ndone"
    assert call(terminal, ctx, command=script).text.startswith("'quotes' \"ünï\" $no\n1\n2\n[exit")
    call(terminal, ctx, command="read -r x; echo got $x", timeout_s=0.1)
    assert call(terminal, ctx, command="typed", is_input=True).text.startswith("got typed\n")
    gone = call(terminal, ctx, command="exit 4")
    assert (gone.data["status"], gone.data["exit_code"]) == ("exited", 4)
    assert "fresh" in gone.text
    call(terminal, ctx, command="(sleep 0.2; echo later > made) &")
    assert call(terminal, ctx, command="wait; cat made").text.endswith("]")
    assert (ctx.workspace.root / "made").read_text() == "later\n"


def test_behaviour_53_a_replacement_needs_one_match_and_says_where_others_are(
    ctx: ToolContext, root: Path
) -> None:
    (root / "f.py").write_text("a = 1\nb = 2\na = 1\nlonger_name = 3\n")
    with pytest.raises(ToolError, match=r"occurs 2 times in f\.py, at lines 1, 3"):
        call(str_replace, ctx, path="f.py", old="a = 1", new="a = 5")
    with pytest.raises(ToolError, match="most similar line is 4: 'longer_name = 3'"):
        call(str_replace, ctx, path="f.py", old="longer_nam = 3", new="")
    with pytest.raises(ToolError, match=r"first line is there but .* at line 2"):
        call(str_replace, ctx, path="f.py", old="b  =  2\nc = 9", new="")
    assert (root / "f.py").read_text() == "a = 1\nb = 2\na = 1\nlonger_name = 3\n"
    seen = call(str_replace, ctx, path="f.py", old="b = 2\na = 1", new="b = 2\na = 5")
    assert "     3\ta = 5" in seen.text
    assert "-a = 1\n+a = 5\n" in seen.data["diff"]
    assert (root / "f.py").read_text() == "a = 1\nb = 2\na = 5\nlonger_name = 3\n"


def test_behaviour_53_passages_that_overlap_are_not_unique(ctx: ToolContext, root: Path) -> None:
    (root / "f").write_text("aaa")
    with pytest.raises(ToolError, match="occurs 2 times"):
        call(str_replace, ctx, path="f", old="aa", new="b")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("é = 1\r\nb = 2\r\n".encode(), "é = 9\r\nc\r\nb = 2\r\n".encode()),
        (b"\xef\xbb\xbfx = 1\n", b"\xef\xbb\xbfx = 9\nc\n"),
        ("x = 1\n".encode("utf-16"), "x = 9\nc\n".encode("utf-16")),
        (b"caf\xe9 = 1\n", b"caf\xe9 = 9\nc\n"),
        (b"x = 1", b"x = 9\nc"),
        (b"x = 1\r\ny\nz\n", b"x = 9\r\nc\ny\nz\n"),
    ],
)
def test_behaviour_53_encoding_line_ends_and_mode_are_kept_and_undo_restores_bytes(
    ctx: ToolContext, root: Path, before: bytes, after: bytes
) -> None:
    (root / "f").write_bytes(before)
    (root / "f").chmod(0o750)
    call(str_replace, ctx, path="f", old="= 1", new="= 9")
    call(insert, ctx, path="./f", line=1, text="c")
    assert (root / "f").read_bytes() == after
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o750
    call(undo_edit, ctx, path="f")
    call(undo_edit, ctx, path="f")
    assert (root / "f").read_bytes() == before
    with pytest.raises(ToolError, match="no edit"):
        call(undo_edit, ctx, path="f")


def test_behaviour_53_undo_removes_what_an_edit_had_created(ctx: ToolContext, root: Path) -> None:
    call(create, ctx, path="new/deep.txt", text="x\n")
    assert (root / "new/deep.txt").read_text() == "x\n"
    with pytest.raises(ToolError, match="exists already"):
        call(create, ctx, path="new/deep.txt", text="y\n")
    call(create, ctx, path="new/deep.txt", text="y\n", overwrite=True)
    call(undo_edit, ctx, path="new/deep.txt")
    assert (root / "new/deep.txt").read_text() == "x\n"
    call(undo_edit, ctx, path="new/deep.txt")
    assert not (root / "new/deep.txt").exists()


def test_behaviour_53_a_failed_write_leaves_the_original(
    ctx: ToolContext, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "f").write_text("old\n")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(ToolError, match="No space left on device; nothing was changed"):
        call(str_replace, ctx, path="f", old="old", new="new")
    assert (root / "f").read_text() == "old\n"


def test_behaviour_53_binary_and_huge_files_are_refused(ctx: ToolContext, root: Path) -> None:
    (root / "program").write_bytes(b"\x7fELF\0\0")
    with (root / "huge").open("wb") as file:
        file.truncate(10_000_001)
    for tool, arguments in ((view, {}), (str_replace, {"old": "E", "new": "F"})):
        with pytest.raises(ToolError, match="binary"):
            call(tool, ctx, path="program", **arguments)
        with pytest.raises(ToolError, match="10,000,001 bytes"):
            call(tool, ctx, path="huge", **arguments)


def test_behaviour_54_ranges_folders_two_levels_deep_and_images(
    ctx: ToolContext, root: Path
) -> None:
    (root / "f").write_text("one\ntwo\nthree\n")
    assert call(view, ctx, path="f", start=2).text == "     2\ttwo\n     3\tthree"
    assert call(view, ctx, path="f", start=1, end=1).text == "     1\tone"
    for start, end in ((0, -1), (4, -1), (3, 2)):
        with pytest.raises(ToolError, match="f has 3 lines"):
            call(view, ctx, path="f", start=start, end=end)
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/b/c/too-deep").touch()
    (root / ".hidden").touch()
    assert call(view, ctx, path=".").text == "a/\na/b/\nf"
    (root / "p.png").write_bytes(PIXEL)
    seen = call(view, ctx, path="p.png")
    assert seen.images[0].media_type == "image/png"
    assert base64.b64decode(seen.images[0].data) == PIXEL
    with pytest.raises(ToolError, match="missing does not exist"):
        call(view, ctx, path="missing")


def test_behaviour_54_a_long_file_is_cut_at_a_line_and_says_how_to_go_on(
    ctx: ToolContext, root: Path
) -> None:
    (root / "long").write_text("".join(f"line {n}\n" for n in range(1, 5001)))
    seen = call(view, ctx, path="long").text
    assert len(seen) < 16_100
    *shown, note = seen.split("\n")
    last = int(shown[-1].split("\t")[0])
    assert note == f"[... {5000 - last} more lines; ask for them by start and end ...]"


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "link/passwd", "d/../../secret"])
def test_behaviour_55_paths_outside_the_workspace_are_refused_in_sandbox_mode(
    confined: ToolContext, root: Path, path: str
) -> None:
    (root.parent / "secret").write_text("secret")
    (root / "d").mkdir()
    (root / "link").symlink_to("/etc")
    attempts: list[tuple[Tool, dict[str, Any]]] = [
        (view, {}),
        (create, {"text": "x", "overwrite": True}),
        (str_replace, {"old": "secret", "new": "x"}),
        (insert, {"line": 0, "text": "x"}),
        (grep, {"pattern": "."}),
        (glob, {"pattern": "*"}),
    ]
    for tool, arguments in attempts:
        with pytest.raises(ToolError, match="outside the workspace"):
            call(tool, confined, path=path, **arguments)
    with pytest.raises(ToolError, match="outside the workspace"):
        call(apply_patch, confined, patch=f"--- {path}\n+++ {path}\n@@ -1 +1 @@\n-secret\n+x\n")
    assert (root.parent / "secret").read_text() == "secret"


def test_secrets_reach_only_commands_that_name_them(root: Path) -> None:
    class Source:
        def environment(self, command: str) -> dict[str, str]:
            return {"TOKEN": "canary"} if "TOKEN" in command else {}

    for ctx in _context(LocalWorkspace, root, secrets=Source()):
        assert call(terminal, ctx, command='echo "$TOKEN"').text.startswith("canary\n")
        assert "canary" not in call(terminal, ctx, command="env; set").text


def test_a_cancelled_call_kills_its_command(ctx: ToolContext) -> None:
    async def cancel() -> Observation:
        running = asyncio.create_task(terminal(ctx, command="sleep 61.5", timeout_s=60))
        await asyncio.sleep(0.5)
        ctx.cancelled.set()
        return await running

    begun = time.monotonic()
    seen = asyncio.run(cancel())
    assert time.monotonic() - begun < 10
    assert seen.data["status"] == "killed"
    assert subprocess.run(["pgrep", "-fx", "sleep 61.5"], capture_output=True).returncode == 1


def test_grep_shows_file_line_and_text_and_passes_over_what_is_no_text(
    ctx: ToolContext, root: Path
) -> None:
    (root / "src").mkdir()
    (root / "src/a.py").write_text("import os\nprint(os.name)\n")
    (root / "b.txt").write_text("IMPORT\n")
    (root / "c.bin").write_bytes(b"import\0")
    (root / ".git").mkdir()
    (root / ".git/x").write_text("import")
    assert call(grep, ctx, pattern="^import").text == "src/a.py:1:import os"
    everything = call(grep, ctx, pattern="import", ignore_case=True)
    assert sorted(everything.text.split("\n")) == ["b.txt:1:IMPORT", "src/a.py:1:import os"]
    assert call(grep, ctx, pattern="import", ignore_case=True, glob="*.txt").data["matches"] == 1
    assert call(grep, ctx, pattern="-e", path="src").text == "no line matches in src"
    with pytest.raises(ToolError, match=r"[Uu]nmatched"):
        call(grep, ctx, pattern="(")
    with pytest.raises(ToolError, match="nowhere does not exist"):
        call(grep, ctx, pattern="x", path="nowhere")


def test_grep_is_not_slowed_down_by_a_pattern(ctx: ToolContext, root: Path) -> None:
    (root / "f").write_text("a" * 5000 + "\n")
    begun = time.monotonic()
    call(grep, ctx, pattern="(a+)+$b")
    assert time.monotonic() - begun < 10


def test_glob_finds_names_last_changed_first(ctx: ToolContext, root: Path) -> None:
    for number, name in enumerate(["a.py", "src/b.py", "src/deep/c.py", "src/d.txt", ".git/e.py"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        os.utime(root / name, (1000 + number, 1000 + number))
    assert call(glob, ctx, pattern="*.py").text == "src/deep/c.py\nsrc/b.py\na.py"
    assert call(glob, ctx, pattern="src/**/*.py").text == "src/deep/c.py\nsrc/b.py"
    assert call(glob, ctx, pattern="src/*.py").text == "src/b.py"
    assert call(glob, ctx, pattern="?.txt", path="src").text == "d.txt"
    assert call(glob, ctx, pattern="x*").text == "no file in . matches x*"


def test_a_patch_of_git_is_applied_as_git_would(ctx: ToolContext, root: Path) -> None:
    old, new = root.parent / "old", root.parent / "new"
    for place in (old, new, root):
        place.mkdir(exist_ok=True)
        (place / "kept.txt").write_text("".join(f"{n}\n" for n in range(30)))
        (place / "gone.txt").write_text("x\ny\n")
        (place / "no-end.txt").write_text("a\nb")
    lines = (new / "kept.txt").read_text().split("\n")
    lines[2], lines[25:27] = "two", []
    (new / "kept.txt").write_text("\n".join(lines))
    (new / "gone.txt").unlink()
    (new / "no-end.txt").write_text("a\nc\n")
    (new / "made.txt").write_text("new\nfile")
    done = subprocess.run(
        ["git", "diff", "--no-index", "--no-prefix", "old", "new"],
        cwd=root.parent, capture_output=True, text=True,
    )  # fmt: skip
    patch = done.stdout.replace("--- old/", "--- a/").replace("+++ new/", "+++ b/")
    call(apply_patch, ctx, patch=patch)
    for name in ("kept.txt", "no-end.txt", "made.txt"):
        assert (root / name).read_bytes() == (new / name).read_bytes()
    assert not (root / "gone.txt").exists()
    call(undo_edit, ctx, path="gone.txt")
    assert (root / "gone.txt").read_text() == "x\ny\n"


def test_a_patch_that_fits_elsewhere_only_once_is_applied_there(
    ctx: ToolContext, root: Path
) -> None:
    (root / "f").write_text("new\nnew\na\nb\nc\n")
    call(apply_patch, ctx, patch="--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n")
    assert (root / "f").read_text() == "new\nnew\na\nB\nc\n"


def test_a_patch_that_does_not_fit_says_where_and_changes_nothing(
    ctx: ToolContext, root: Path
) -> None:
    (root / "f").write_text("a\nb\nc\n")
    (root / "g").write_text("x\nx\ny\nx\n")
    good = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n+B\n"
    cases = {
        "--- a/g\n+++ b/g\n@@ -3 +3 @@\n-z\n+Z\n": "line 3 should be 'z', there is 'y'",
        "--- a/g\n+++ b/g\n@@ -3 +3 @@\n-x\n+Z\n": "not at line 3 but fits at lines 1, 2, 4",
        "--- a/g\n+++ b/g\n@@ -1,3 +1 @@\n-x\n": "should have 3 old and 1 new lines",
        "--- /dev/null\n+++ b/g\n@@ -0,0 +1 @@\n+x\n": "g exists already",
        "--- a/none\n+++ b/none\n@@ -1 +1 @@\n-x\n+y\n": "none does not exist",
        "--- a/g\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n": "more lines than the patch removes",
    }
    for patch, words in cases.items():
        with pytest.raises(ToolError, match=words):
            call(apply_patch, ctx, patch=good + patch)
        assert (root / "f").read_text() == "a\nb\nc\n"
        assert (root / "g").read_text() == "x\nx\ny\nx\n"
    with pytest.raises(ToolError, match="names no file"):
        call(apply_patch, ctx, patch="please change it")


def test_a_plan_is_written_shown_and_read_again(ctx: ToolContext) -> None:
    items = [{"title": "look", "status": "done"}, {"title": "mend"}]
    seen = call(todo, ctx, items=items)
    assert seen.text == "1. [x] look\n2. [ ] mend\n1 of 2 steps are open"
    assert seen.data["todo"][1] == {"title": "mend", "status": "todo"}
    later = ToolContext(ctx.workspace, plan=seen.data["todo"])
    assert call(todo, later).text == seen.text
    assert call(todo, ctx).text == "the plan is empty"
