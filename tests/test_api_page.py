"""The page of public names is the one that their docstrings make, and none of them is without a docstring."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import irkernels as irk

# last on the path: the checkout's own source tree must not hide an installed irkernels
sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.api_page import page


def test_the_page_is_up_to_date() -> None:
    kept = (Path(irk.__file__).parent / "docs" / "api.md").read_text()
    assert kept == page(), "python -m bench.api_page"


def test_every_public_name_has_its_words() -> None:
    entries = re.split(r"^### ", page(), flags=re.MULTILINE)[1:]
    assert len(entries) > 60
    assert not [name for name, _, words in (each.partition("\n") for each in entries) if not words.strip()]
