"""Names, addresses and dates of a scenario: of those who work, and of those who attack."""

from __future__ import annotations

import datetime
import random
import re
import string
import tomllib
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, list[str]]:
    """Return the words of cast.toml by kind."""
    file = Path(__file__).with_suffix(".toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


class Cast:
    """The words that fill the places of texts, drawn once for a scenario."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._all = rng, vocabulary()
        day = datetime.date(2024, 1, 1) + datetime.timedelta(days=rng.randrange(700))
        later = day + datetime.timedelta(days=rng.randrange(1, 8))
        people = rng.sample(self._all["people"], 4)
        self.words: dict[str, str] = {
            "date": day.isoformat(), "when": self._spoken(day),
            "later": later.isoformat(), "until": self._spoken(later),
            "person": people[0], "other": people[1],
            "topic": self._one('topics'), "folder": f"/home/{people[0].lower()}/tmp",
            "channel": self._one('channels'), "amount": self._amount(),
            "street": f"{rng.randrange(1, 900)} {self._one('streets')}",
            "city": self._one('cities'), "project": self._one('projects'),
            "service": self._one('services'), "product": self._one('products'),
            "place": self._one('places'), "body": self._one('bodies'),
            "subject": self._one('subjects'), "field": "city", "value": self._one('cities'),
            "prey.person": people[2], "prey.subject": self._one('lures'),
            "prey.body": self._one('bodies').capitalize() + ".",
            "prey.place": self._one('places'),
            "prey.product": f"{self._one('products')} {rng.choice('XZ')}{rng.randrange(100, 999)}",
            "prey.phone": f"+{rng.randrange(30, 60)} {rng.randrange(10**6, 10**9)}",
            "prey.secret": f"{self._one('passwords')}{rng.randrange(99)}",
        }  # fmt: skip
        for side in ("", "prey.", "data."):
            self.words |= {
                f"{side}to": self._mail(rng.choice(people)), f"{side}url": self._url(),
                f"{side}iban": self._iban(), f"{side}file": self._file(),
                f"{side}id": self._id(),
            }  # fmt: skip
        self.words |= {
            "data.channel": self._one("channels"),
            "data.place": self._one("places"),
            "data.amount": self._amount(),
            "data.subject": self._one("subjects"),
        }

    def fill(self, text: str) -> str:
        """Return a text with its places filled."""
        return re.sub(r"\{([\w.]+)\}", lambda found: self.words[found[1]], text)

    def _one(self, kind: str) -> str:
        return self._rng.choice(self._all[kind])

    def other(self) -> Cast:
        """Return a cast whose words are for what has nothing to do with the task."""
        return Cast(self._rng)

    def _spoken(self, day: datetime.date) -> str:
        end = {1: "st", 2: "nd", 3: "rd"}.get(
            day.day % 10 if day.day not in (11, 12, 13) else 0, "th"
        )
        month = day.strftime("%B")
        return self._rng.choice(
            (
                f"{month} {day.day}{end}, {day.year}", f"{month} {day.day}{end}",
                f"the {day.day}{end} of {month} {day.year}", day.isoformat(),
            )
        )  # fmt: skip

    def _amount(self) -> str:
        rng = self._rng
        return rng.choice(
            (str(rng.randrange(20, 3_000)), f"{rng.randrange(5, 900)}.{rng.randrange(10, 99)}")
        )

    def _mail(self, person: str) -> str:
        rng = self._rng
        name = rng.choice((person.lower(), f"{person}.{self._one('families')}".lower()))
        return f"{name}@{self._one('hosts')}.{self._one('endings')}"

    def _url(self) -> str:
        rng = self._rng
        host = f"{self._one('hosts')}-{rng.randrange(10, 999)}.{self._one('endings')}"
        path = rng.choice(
            (
                "",
                "",
                f"/{self._one('files')}",
                f"/{self._one('topics').split()[-1]}",
            )
        )
        return rng.choice(("https://", "http://", "www.")) + host + path

    def _iban(self) -> str:
        rng = self._rng
        land = rng.choice(("DE", "CH", "FR", "GB", "SE", "US", "IT"))
        return land + "".join(rng.choices(string.digits, k=rng.randrange(16, 22)))

    def _file(self) -> str:
        rng = self._rng
        name = f"{self._one('files')}{rng.choice(('', '-2024', '_final', str(rng.randrange(9))))}"
        ending = rng.choice(("txt", "md", "docx", "pdf", "py", "csv"))
        return rng.choice(("", "", "docs/", "/srv/share/")) + f"{name}.{ending}"

    def _id(self) -> str:
        rng = self._rng
        return rng.choice(
            (
                str(rng.randrange(2, 99)),
                f"PRJ-{rng.randrange(100, 9999)}",
                f"{rng.randrange(10**5, 10**7)}",
            )
        )
