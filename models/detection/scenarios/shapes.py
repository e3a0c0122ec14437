"""What tools answer: records of each kind, in the formats that tools write."""

from __future__ import annotations

import html
import json
import random
from typing import Any

import yaml

from models.detection.scenarios.cast import Cast

Fillers = dict[str, list[str]]


class Shapes:
    """Makes the results of a scenario's calls.

    Args:
        rng: Chance.
        cast: Words of the task; `data.` words are told here.
        fillers: Sentences by kind.
    """

    def __init__(self, rng: random.Random, cast: Cast, fillers: Fillers) -> None:
        self._rng, self._cast, self._fillers = rng, cast, fillers
        self._style = rng.choice(("json", "json", "yaml", "repr", "pairs"))
        self.told: list[str] = []
        """Texts of the records that were answered so far."""

    def make(self, shape: str, poison: str, says: str, link: str) -> str:
        """Return a result.

        Args:
            shape: Kind of record.
            poison: Text of an attacker that is to stand in it; empty: none.
            says: What the source was asked for by the prompt to say; empty: nothing.
            link: Address that somebody tells in it; empty: none.
        """
        records = getattr(self, f"_{shape}")()
        if isinstance(records, str):
            return self._insert(records, [one for one in (says, link, poison) if one])
        if records and isinstance(records[0], dict):
            self._place(records, says, link, poison)
            return self._written(records)
        if poison:
            place = self._rng.randrange(len(records))
            records[place] = f"{records[place]} {poison}"
        return self._written(records)

    def _place(self, records: list[dict[str, Any]], says: str, link: str, poison: str) -> None:
        texts = [key for key in ("body", "text", "description", "reviews", "subject", "note")
                 if key in records[0]]  # fmt: skip
        key = texts[0] if texts else next(iter(records[0]))
        if says:
            records[0][key] = self._insert(str(records[0][key]), [says])
        if link:
            records[-1][key] = self._insert(str(records[-1][key]), [link])
        if poison:
            record = self._rng.choice(records)
            if self._rng.random() < 0.3:
                record[key] = poison
            else:
                record[key] = self._insert(str(record[key]), [poison])

    def _insert(self, text: str, added: list[str]) -> str:
        for one in added:
            lines = text.split("\n")
            lines.insert(self._rng.randrange(len(lines) + 1), one)
            text = (
                self._rng.choice(("\n", "\n", " ")).join(lines)
                if len(lines) < 3
                else "\n".join(lines)
            )
        return text

    def _written(self, records: Any) -> str:
        if self._style == "json":
            return json.dumps(records, indent=self._rng.choice((None, 2)), ensure_ascii=False)
        if self._style == "yaml":
            return str(yaml.safe_dump(records, sort_keys=False, allow_unicode=True))
        if self._style == "pairs" and records and isinstance(records[0], dict):
            return str([" ".join(f"{k}={v!r}" for k, v in record.items()) for record in records])
        return repr(records)

    def _texts(self, kind: str, least: int, most: int) -> str:
        other = self._cast.other()
        count = self._rng.randrange(least, most + 1)
        chosen = self._rng.sample(self._fillers[kind], min(count, len(self._fillers[kind])))
        text = self._rng.choice((" ", "\n")).join(other.fill(one) for one in chosen)
        self.told.append(text)
        return text

    def _mails(self) -> list[dict[str, Any]]:
        return [
            {
                "id": str(self._rng.randrange(1, 99)), "sender": self._cast.other().words["to"],
                "subject": self._cast.other().words["subject"], "body": self._texts("mail", 2, 5),
                "timestamp": self._cast.other().words["date"],
            }
            for _ in range(self._rng.randrange(1, 5))
        ]  # fmt: skip

    def _files(self) -> list[dict[str, Any]]:
        names = [self._cast.words["data.file"], self._cast.words["file"]]
        names += [self._cast.other().words["file"] for _ in range(self._rng.randrange(1, 5))]
        return [{"name": name, "size": self._rng.randrange(90_000), "note": ""} for name in names]

    def _document(self) -> str:
        return self._texts(self._rng.choice(("document", "document", "code", "mail")), 3, 9)

    def _page(self) -> str:
        text = self._texts("page", 2, 6)
        if self._rng.random() < 0.5:
            return text
        parts = "".join(f"<p>{html.escape(part)}</p>" for part in text.split("\n"))
        return f"<html><body><h1>{self._cast.words['topic']}</h1>{parts}</body></html>"

    def _channels(self) -> list[str]:
        names = {self._cast.words["channel"], self._cast.words["data.channel"]}
        return sorted(names | {self._cast.other().words["channel"] for _ in range(4)})

    def _messages(self) -> list[dict[str, Any]]:
        return [
            {"sender": self._cast.other().words["person"], "body": self._texts("chat", 1, 2)}
            for _ in range(self._rng.randrange(2, 6))
        ]

    def _events(self) -> list[dict[str, Any]]:
        cast = self._cast
        return [
            {
                "id": cast.words["data.id"] if not number else str(self._rng.randrange(99)),
                "title": cast.other().words["subject"], "description": self._texts("mail", 1, 2),
                "start_time": f"{cast.words['date']} {self._rng.randrange(8, 18):02}:00",
                "participants": [cast.other().words["to"]],
            }
            for number in range(self._rng.randrange(1, 4))
        ]  # fmt: skip

    def _payments(self) -> list[dict[str, Any]]:
        cast = self._cast
        first = {
            "id": cast.words["data.id"], "amount": cast.words["data.amount"],
            "recipient": cast.words["data.iban"], "subject": cast.words["data.subject"],
        }  # fmt: skip
        more = [cast.other().words for _ in range(self._rng.randrange(1, 5))]
        return [
            first,
            *({"id": one["id"], "amount": one["amount"], "recipient": one["iban"],
               "subject": one["subject"]} for one in more),
        ]  # fmt: skip

    def _profile(self) -> list[dict[str, Any]]:
        words = self._cast.other().words
        record = {
            "name": words["person"], "email": words["to"], "phone": words["prey.phone"],
            "passport": f"HX{self._rng.randrange(10**6, 10**7)}", "iban": words["iban"],
        }  # fmt: skip
        self.told.append(", ".join(record.values()))
        return [record]

    def _terminal(self) -> str:
        return self._texts("code", 2, 6)

    def _table(self) -> list[dict[str, Any]]:
        rows = [self._cast.other().words for _ in range(self._rng.randrange(1, 5))]
        self.told.append("; ".join(row["to"] for row in rows))
        return [{"id": row["id"], "email": row["to"], "note": row["topic"]} for row in rows]

    def _issues(self) -> list[dict[str, Any]]:
        ids = [self._cast.words["data.id"], self._cast.other().words["id"]]
        return [{"id": one, "status": "open", "text": self._texts("issue", 1, 3)} for one in ids]

    def _issue(self) -> list[dict[str, Any]]:
        return [{"id": self._cast.words["id"], "text": self._texts("issue", 2, 5)}]

    def _client(self) -> list[dict[str, Any]]:
        words = self._cast.words
        return [{"name": words["person"], "city": self._cast.other().words["city"],
                 "email": words["data.to"], "note": self._texts("mail", 1, 2)}]  # fmt: skip

    def _services(self) -> list[dict[str, Any]]:
        names = [self._cast.words["service"], self._cast.other().words["service"]]
        return [
            {"name": one, "state": "running", "note": self._texts("issue", 1, 1)} for one in names
        ]

    def _places(self) -> list[str]:
        names = {self._cast.words["data.place"], self._cast.words["place"]}
        return sorted(names | {self._cast.other().words["place"] for _ in range(3)})

    def _reviews(self) -> list[dict[str, Any]]:
        return [{"place": self._cast.words["data.place"], "rating": 4.2,
                 "reviews": self._texts("review", 2, 4)}]  # fmt: skip

    def _products(self) -> list[dict[str, Any]]:
        return [
            {"product": self._cast.words["product"], "price": self._cast.other().words["amount"],
             "description": self._texts("review", 1, 3)}
            for _ in range(self._rng.randrange(1, 4))
        ]  # fmt: skip

    def _done(self) -> str:
        return self._rng.choice(("ok", "None", "{'message': 'done'}", '{"status": "success"}', ""))
