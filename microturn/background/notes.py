"""Search over the user's own notes and documents (text and Markdown files of a folder): SQLite FTS5, in memory.

Nothing leaves the machine and nothing is written.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from microturn.errors import InputError
from microturn.language.lexicon import FUNCTION

SUFFIXES = frozenset({".txt", ".md", ".markdown", ".rst", ".org"})
MAX_FILES = 5_000
MAX_FILE_BYTES = 2_000_000
MAX_PASSAGE_CHARACTERS = 1_000
MAX_HITS = 5
MAX_WORDS = 20
COMMON = frozenset(FUNCTION)


@dataclass(frozen=True)
class Hit:
    """A passage: its file (relative to the folder), its first line (from 1), and its text."""

    file: str
    line: int
    text: str


class Notes:
    """The passages of all files below a folder."""

    def __init__(self, folder: Path) -> None:
        """Read the folder. Raises ``InputError`` if it is none, or has too many files."""
        if not folder.is_dir():
            raise InputError(f"{folder}: is not a folder of notes")
        # Read here and asked in another thread, by one at a time.
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE notes USING fts5(text, file UNINDEXED, line UNINDEXED, tokenize='porter unicode61')"
        )
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if len(files) > MAX_FILES:
            raise InputError(f"{folder}: has {len(files)} notes, at most {MAX_FILES} are taken")
        for path in files:
            self._database.executemany("INSERT INTO notes VALUES (?, ?, ?)", _passages(path, folder))

    def close(self) -> None:
        self._database.close()

    def search(self, words: str) -> list[Hit]:
        """The best passages that have all the words, else any of them."""
        every = re.findall(r"\w+", words.lower())[:MAX_WORDS]
        terms = [term for term in every if term not in COMMON] or every
        for joined in (" AND ", " OR "):
            # Quoted, so that a word is never an operator of the query.
            query = joined.join(f'"{term}"' for term in terms)
            sql = "SELECT file, line, text FROM notes WHERE notes MATCH ? ORDER BY bm25(notes), file, line LIMIT ?"
            if query and (found := self._database.execute(sql, (query, MAX_HITS)).fetchall()):
                return [Hit(*row) for row in found]
        return []


def _passages(path: Path, folder: Path) -> Iterator[tuple[str, str, int]]:
    """Paragraphs of a file; one that cannot be read has none."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return
    name = str(path.relative_to(folder))
    line = 1
    for block in re.split(r"(\n\s*\n)", text):
        stripped = block.strip()
        before = block[: len(block) - len(block.lstrip())].count("\n")
        for start in range(0, len(stripped), MAX_PASSAGE_CHARACTERS):
            yield stripped[start : start + MAX_PASSAGE_CHARACTERS], name, line + before
        line += block.count("\n")
