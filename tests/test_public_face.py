"""The names that others build on: what plugins, templates, documentation and benchmarks import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import crl_core as crl

ROOT = Path(__file__).parents[1]
OUTSIDE = sorted(
    path
    for pattern in (
        "plugins/*/crl_*/**/*.py",
        "tests/strangers/**/*.py",
        "crl_core/scaffold/parts/*.py",
        "benchmarks/*.py",
        "docs/*.md",
        "plugins/*/README.md",
        "README.md",
    )
    for path in ROOT.glob(pattern)
)


def imports(path: Path) -> Iterator[str]:
    """The modules that a file, or the examples of a page, imports."""
    text = path.read_text(encoding="utf-8")
    code = [text] if path.suffix == ".py" else re.findall(r"```py(?:thon)?[^\n]*\n(.*?)```", text, re.DOTALL)
    for node in (node for piece in code for node in ast.walk(ast.parse(piece))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_others_import_public_names_alone(path: Path) -> None:
    assert [name for name in imports(path) if name.startswith("crl_core.")] == []


def test_something_is_looked_at() -> None:
    assert len(OUTSIDE) > 100
    assert "crl_core" in set(imports(ROOT / "README.md"))


@pytest.mark.parametrize("name", crl.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(crl, name) is not None
    assert name in dir(crl)


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="InfoNCEE"):
        crl.InfoNCEE  # noqa: B018
