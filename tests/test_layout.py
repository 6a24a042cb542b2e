"""The folders of the core are floors: the drawing in README.md, top to bottom, is the order of imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "crl_core"
PACKAGES = [CORE, *sorted(ROOT.glob("plugins/*/crl_*"))]
FILES = {path: path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in CORE.rglob("*.py")}
FILES = {
    path: name.removesuffix(".__init__") for path, name in FILES.items() if "scaffold/files" not in path.as_posix()
}
MODULES = {name: path for path, name in FILES.items()}
HEART = ("contracts", "data", "method", "spec", "registry")
OLD = "formerly"  # where plugins of 0.1 find what has moved


def imported(module: str, path: Path) -> Iterator[str]:
    """The modules of the core that a file imports, anywhere in it, also for types alone."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                found = f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base
                if found in MODULES and found != module:
                    yield found


GRAPH = {module: sorted(set(imported(module, path))) for module, path in MODULES.items()}


def drawing() -> list[list[str]]:
    """The lines of the drawing in README.md, each with the folders and files that stand in it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL) if "contracts/" in block]
    assert len(blocks) == 1, "README.md draws the folders of crl_core once"
    return [re.findall(r"(\w+)(?:/|\.py)", line.split("  ")[0]) for line in blocks[0].splitlines()]


def test_the_readme_draws_every_folder_in_ten_lines() -> None:
    drawn = [name for line in drawing() for name in line]
    folders = {path.parent.name for path in CORE.glob("*/__init__.py")} - {OLD}
    assert len(drawing()) <= 10
    assert len(drawn) == len(set(drawn))
    assert set(drawn) - {path.stem for path in CORE.glob("*.py")} == folders


def test_a_folder_imports_only_from_below() -> None:
    order = {name: place for place, name in enumerate(name for line in drawing() for name in line)}
    upward = [
        f"{module} imports {found}"
        for module, imports in GRAPH.items()
        for found in imports
        if (one := module.split(".")[1:2]) and (other := found.split(".")[1:2])
        if one[0] in order and other[0] in order and order[other[0]] < order[one[0]]
    ]
    assert not upward, upward


def test_no_circle_of_files() -> None:
    left = {module: set(imports) for module, imports in GRAPH.items()}
    while free := [module for module, imports in left.items() if not imports & left.keys()]:
        for module in free:
            del left[module]
    assert not left, f"these import each other in a circle: {sorted(left)}"


def test_few_files_are_loose() -> None:
    loose = sorted(path.name for path in CORE.iterdir() if path.is_file())
    assert len(loose) <= 8, loose


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.name))
def test_no_file_is_long(package: Path) -> None:
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in package.rglob("*.py")}
    assert not {name: count for name, count in lines.items() if count > 400}


def code_lines(path: Path) -> int:
    """Lines that are neither empty, nor comments, nor docstrings."""
    text = path.read_text(encoding="utf-8")
    said: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            said |= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for number, line in lines if line.strip() and number not in said and not line.lstrip().startswith("#"))


def test_the_heart_is_read_in_an_afternoon() -> None:
    """Contracts, relations and pairs, branch, contrast and pipeline, spec and registry: code apart from its text."""
    lines = {str(path.relative_to(CORE)): code_lines(path) for name in HEART for path in (CORE / name).rglob("*.py")}
    assert len(lines) > 20
    assert sum(lines.values()) < 3_300, lines
