"""The reference, which is made when the documentation is built, says everything of every part."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import crl_core as crl

ROOT = Path(__file__).parents[1]
OURS = {"crl-core", "crl-vision", "crl-graph", "crl-language", "crl-timm"}
PARTS = [part for part in crl.known() if part.distribution in OURS]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(reference: ModuleType) -> dict[str, str]:
    found: dict[str, str] = reference.pages()
    return found


def entry_of(page: str, title: str) -> str:
    """What a page has under a heading."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"{title} is missing"
    return found[1]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.kind}-{part.address}")
def test_a_part_is_there_with_its_options(part: crl.Known, pages: dict[str, str]) -> None:
    entry = entry_of(pages[f"reference/{part.kind}.md"], part.address)
    made = crl.get(part.kind, part.address)
    assert (made.__doc__ or "-").strip().splitlines()[0][:20] in entry.replace("\\", "")
    assert "```pycon" in entry or part.kind == "recipe"
    for option in inspect.signature(made).parameters.values():
        if option.kind in (option.VAR_POSITIONAL, option.VAR_KEYWORD):
            continue  # of a module that has no options
        row = re.search(rf"^\| `{option.name}` \| `.+?` \| (`.+?`)? ?\| (.*) \|$", entry, re.MULTILINE)
        assert row, f"{option.name} is missing"
        assert bool(row[1]) == (option.default is not option.empty), option.name
        assert row[2] or part.kind == "recipe", f"nothing says what {option.name} is"


def test_the_pages_hold_what_is_registered(reference: ModuleType) -> None:
    ours = {(part.kind, part.address) for part in PARTS}
    written = {(part.kind, part.address) for part in reference.parts() if "…" not in part.address}
    # What isn't installed here can't be compared.
    assert {each for each in written if each[1].split("/")[0] in {part.namespace for part in PARTS}} == ours
    assert set(reference.TITLES) == set(crl.KINDS)


def test_pages_are_in_the_navigation(pages: dict[str, str]) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path for path in pages if path not in navigation] == []
