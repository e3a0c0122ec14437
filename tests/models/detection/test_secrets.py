"""Credentials by form and by name. All values are drawn when a test runs."""

import base64
import itertools
import random
import re
import string
import time
from pathlib import Path

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detection.secrets import SecretScanner
from models.detection.secrets.checks import entropy, is_password, is_placeholder, is_random
from models.detection.secrets.files import Coverage, files_of, pieces, scan_files
from models.detection.secrets.generate import drawn, lookalikes, planted, unseen
from models.detection.secrets.rules import Rule, read_rules, rules_digest
from models.errors import DataError
from models.settings import ROOT

RULES = {rule.id: rule for rule in read_rules()}


@pytest.fixture(scope="module")
def scanner() -> SecretScanner:
    return SecretScanner()


def letters(seed: int, size: int) -> str:
    chance = random.Random(seed)
    return "".join(chance.choice(string.ascii_letters + string.digits) for _ in range(size))


class TestForms:
    def test_there_are_more_than_sixty_and_each_says_whose_it_is(self):
        assert len(RULES) >= 60
        assert len({rule.provider for rule in RULES.values()}) >= 60
        assert all(rule.provider and rule.keys for rule in RULES.values())
        assert len(rules_digest()) == 16

    @pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
    def test_each_finds_its_own(self, scanner: SecretScanner, rule: Rule):
        for text in planted([rule], 11, 4):
            found = scanner.scan(text.text)
            assert any(f.rule == rule.id for f in found), text
            assert all(f.certainty == "certain" for f in found if f.rule == rule.id)
        alone = SecretScanner([rule], names=False)
        assert alone.scan(f"nothing of {rule.keys[0]} here, and {rule.keys[-1]} neither") == []

    def test_keys_stand_in_what_they_announce(self):
        for rule in RULES.values():
            for text in planted([rule], 5, 3):
                assert any(key in text.text for key in rule.keys), rule.id

    def test_patterns_take_linear_time(self):
        for rule in RULES.values():
            assert re2.compile(rule.pattern)
        text = "eyJ" * 30_000 + "AKIA" * 30_000 + "postgres://" * 20_000 + "a" * 200_000
        began = time.process_time()
        SecretScanner().scan(text)
        assert time.process_time() - began < 20

    def test_examples_of_documentation_are_none(self, scanner: SecretScanner):
        for text in (
            "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
            "token: ghp_" + "x" * 36,
            "postgresql://postgres:postgres@localhost/app",
            "Authorization: Basic " + base64.b64encode(b"Aladdin:open sesame").decode(),
            "Authorization: Bearer <your-token>",
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        ):
            assert scanner.scan(text) == [], text

    def test_a_token_whose_head_is_no_json_is_none(self, scanner: SecretScanner):
        body = "eyJ" + letters(1, 40)
        assert [f.rule for f in scanner.scan(f"{body}.{body}.{letters(2, 40)}")] == []

    def test_of_two_that_overlap_the_more_telling_one_is_given(self, scanner: SecretScanner):
        value = drawn(RULES["github_token"], random.Random(3))
        (found,) = scanner.scan(f'curl -H "Authorization: Bearer {value}"')
        assert (found.rule, found.certainty) == ("github_token", "certain")


class TestNames:
    @pytest.mark.parametrize("seed", [101, 202])
    def test_those_of_unknown_issuers_are_found_by_how_they_are_given(
        self, scanner: SecretScanner, seed: int
    ):
        texts = list(unseen(seed, 600))
        found = [any(text.text[f.start : f.end] == text.value for f in scanner.scan(text.text))
                 for text in texts]  # fmt: skip
        assert sum(found) / len(found) >= 0.95

    @pytest.mark.parametrize("seed", [101, 202])
    def test_what_only_looks_like_one_is_left_alone(self, scanner: SecretScanner, seed: int):
        alarms = [(text.family, text.text) for text in lookalikes(seed, 600)
                  if scanner.scan(text.text)]  # fmt: skip
        assert alarms == []

    def test_without_names_only_forms_count(self):
        text = f'service_token = "{letters(4, 32)}"'
        assert [f.rule for f in SecretScanner().scan(text)] == ["assigned"]
        assert SecretScanner(names=False).scan(text) == []
        assert SecretScanner((), names=False).scan(text) == []

    def test_a_known_value_can_be_allowed(self, scanner: SecretScanner):
        text = f'service_token = "{letters(4, 32)}"'
        (found,) = scanner.scan(text)
        assert SecretScanner(allowed=[found.digest]).scan(text) == []

    @pytest.mark.parametrize(
        ("value", "is_one"),
        [("correct-Horse7battery", True), ("password123", False), ("postgres", False),
         ("${PASSWORD}", False), ("short", False), ("my_secret_value", False)],
    )  # fmt: skip
    def test_passwords(self, value: str, is_one: bool):
        assert is_password(value) is is_one

    def test_randomness_is_told_by_pairs_of_letters(self):
        assert is_random(letters(5, 24))
        assert not any(map(is_random, ("authentication_provider", "SecretsManagerClient", "abc")))
        assert is_placeholder("<your-token>")
        # Hand calculation: four equally frequent characters are two bits.
        assert entropy("abcd") == 2.0
        assert entropy("aaaa") == 0.0


class TestRedaction:
    def test_what_is_struck_out_is_found_no_more(self, scanner: SecretScanner):
        for text in planted(list(RULES.values()), 23, 1):
            clean = scanner.redact(text.text)
            assert text.value not in clean
            assert not [f for f in scanner.scan(clean) if f.certainty == "certain"]

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.text(max_size=400), st.integers(0, 10**6), st.text(max_size=400))
    def test_any_text_around_it_comes_through(self, before: str, seed: int, after: str):
        value = drawn(RULES["github_fine_grained_token"], random.Random(seed))
        text = f"{before} {value} {after}"
        scanner = SecretScanner()
        found = scanner.scan(text)
        assert any(text[f.start : f.end] == value for f in found)
        assert all(0 <= f.start < f.end <= len(text) for f in found)
        assert all(a.end <= b.start for a, b in itertools.pairwise(found))
        assert value not in scanner.redact(text)


class TestFiles:
    def test_lines_columns_and_what_was_not_read_are_told(
        self, scanner: SecretScanner, tmp_path: Path
    ):
        value = drawn(RULES["npm_token"], random.Random(7))
        (tmp_path / "a.env").write_text(f"one\ntwo\nNPM={value}\n")
        (tmp_path / "wide.txt").write_text(f"x {value}\n", encoding="utf-16")
        (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0" + value.encode())
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git/config").write_text(value)
        (tmp_path / "left.lock").write_text(value)
        (tmp_path / "link").symlink_to(tmp_path / "a.env")
        coverage = Coverage(0, 0, 0, [])
        found = list(scan_files(scanner, files_of([tmp_path], ["*.lock"]), coverage))
        assert [(f.path.name, f.line, f.column) for f in found] == [
            ("a.env", 3, 5), ("wide.txt", 1, 3),
        ]  # fmt: skip
        assert (coverage.files, coverage.binary, coverage.unreadable) == (2, 1, [])
        with pytest.raises(DataError, match="is neither a file nor a folder"):
            list(files_of([tmp_path / "none"]))

    def test_a_large_text_is_scanned_in_pieces_and_nothing_twice(self, scanner: SecretScanner):
        values = [drawn(RULES["npm_token"], random.Random(n)) for n in range(3)]
        filler = "lorem ipsum dolor " * 232_000
        cut = 4 * 1024**2
        text = filler[: cut - 20] + f" {values[0]} " + filler + f" {values[1]} "
        text += filler[: cut // 2] + f" {values[2]} "
        found = list(pieces(text, scanner))
        assert [text[f.start : f.end] for f in found] == values


def test_the_examples_of_the_page_run():
    page = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    exec(compile(code, "docs/detection.md", "exec"), {"__name__": "docs_detection"})
    assert f"{len(RULES)} forms" in page
    assert f"{len({rule.provider for rule in RULES.values()})} issuers" in page
