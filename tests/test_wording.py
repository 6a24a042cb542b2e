"""Tests match names, places and numbers: the wording of a message is nobody's promise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("tests", "plugins") for path in (ROOT / folder).rglob("test_*.py"))
MOST = 3
"""Words in a row that may be a name: `no such device` of a test's own part, say."""


def words(pattern: str) -> list[str]:
    """The longest run of plain words of a regular expression."""
    said = re.sub(r"\\([.'\"])", r"\1", re.sub(r"\\b|\(\?\w+\)", "|", pattern))
    runs = re.findall(r"(?<![\w'\"`./=-])[A-Za-z][a-z']*(?:,? [a-z][a-z']*)*(?![\w'\"`/=(]|\.\w|-\w)", said)
    return max((run.split() for run in runs), key=len, default=[])


def text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) or "|" for part in node.values)
    return None


def columns(function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    """What `parametrize` gives the parameters of a test: name and value."""
    for call in function.decorator_list:
        if not (isinstance(call, ast.Call) and ast.unparse(call.func).endswith("parametrize")):
            continue
        names, rows = ast.literal_eval(call.args[0]), call.args[1]
        if isinstance(names, str) or not isinstance(rows, ast.List):
            continue
        for row in rows.elts:
            if isinstance(row, ast.Tuple):
                yield from zip(names, row.elts, strict=True)


def matched(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every pattern that an error or a warning has to match, with its line."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        found = [key.value for node in ast.walk(function) if isinstance(node, ast.Call) for key in node.keywords
                 if key.arg == "match"]  # fmt: skip
        named = {node.id for node in found if isinstance(node, ast.Name)}
        found += [value for name, value in columns(function) if name in named]
        yield from ((node.lineno, said) for node in found if (said := text(node)) is not None)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_test_matches_the_wording_of_a_message(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    found = list(matched(ast.parse(source)))
    for line, pattern in found:
        run = " ".join(words(pattern))
        ours = source.count(run) > sum(run in other for _, other in found)  # it is what the test's own part says
        assert len(run.split()) <= MOST or ours, f"{file.name}:{line}: {pattern!r} holds a message to {run!r}"


def test_a_sentence_is_seen_and_names_are_none() -> None:
    assert words("training: expected a whole number, not 3") == ["expected", "a", "whole", "number,", "not"]
    assert words(r"(?s)\btraining\.epochs\b.*'lots'.*\bbatch\b") == ["batch"]
    tree = ast.parse('def test():\n with raises(E, match="it is no table of numbers"):\n  f()\n')
    assert list(matched(tree)) == [(2, "it is no table of numbers")]
