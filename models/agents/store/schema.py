"""The tables of a conversation's file. What must be unique is unique here."""

from __future__ import annotations

FORMAT = 1
"""Of the tables; bodies of events have versions of their own."""

TABLES = """
CREATE TABLE meta (format INTEGER NOT NULL, id TEXT NOT NULL);
CREATE TABLE blob (hash BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    parent TEXT,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    ts REAL NOT NULL,
    call_id TEXT NOT NULL,
    body BLOB,
    blob BLOB REFERENCES blob (hash),
    chain BLOB NOT NULL
);
CREATE TABLE intent (call_id TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE result (
    call_id TEXT PRIMARY KEY REFERENCES intent (call_id),
    seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL,
    json BLOB NOT NULL,
    generation INTEGER NOT NULL,
    owner TEXT NOT NULL,
    renewed REAL NOT NULL
);
"""

RECORD = "e.seq, e.id, e.parent, e.kind, e.source, e.ts, e.call_id, coalesce(e.body, b.data)"
"""Columns of a record; its hash is `e.chain`."""

STORED = "event e LEFT JOIN blob b ON b.hash = e.blob"
"""Where they are read from."""
