"""Nothing of ours reads code from data: no pickle, no eval, no file format that can hold either."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = [ROOT / "crl_core", *sorted(ROOT.glob("plugins/*/crl_*"))]
FILES = sorted(file for package in PACKAGES for file in package.rglob("*.py"))
# The conformance kit sends an author's own part to a process of its own: nobody's data are read there.
KIT = ROOT / "crl_core" / "testing"

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "jsonpickle", "code"}
CALLS = {
    "eval", "exec", "compile", "__import__", "execfile", "torch.load", "torch.jit.load", "torch.hub.load",
    "torch.package.PackageImporter", "pandas.read_pickle", "pd.read_pickle", "os.system",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    """`torch.load` for the expression that reads so."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "…"


def forbidden(code: str) -> Iterator[str]:
    """What of code can make code of data, with its line."""
    for node in ast.walk(ast.parse(code)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        wrong = [name for name in names if name.partition(".")[0] in MODULES or name in CALLS]
        if isinstance(node, ast.Call):
            wrong += [dotted(node.func)] if dotted(node.func) in CALLS else []
            wrong += ["allow_pickle=True" for keyword in node.keywords if keyword.arg == "allow_pickle"
                      and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)]  # fmt: skip
        yield from (f"line {node.lineno}: {name}" for name in wrong)  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_of_ours_can_make_code_of_data(file: Path) -> None:
    if not file.is_relative_to(KIT):
        assert list(forbidden(file.read_text(encoding="utf-8"))) == []


def test_files_were_looked_at() -> None:
    assert len(FILES) > 60
    assert {package.name for package in PACKAGES} >= {"crl_core", "crl_vision", "crl_timm"}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "import os, pickle as p", "from pickle import loads", "from torch import load", "eval('1')",
        "import torch\ntorch.load('x')", "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=wanted)",
        "torch.hub.load('a', 'b')", "from joblib.parallel import x", "__import__('os')",
    ],
)  # fmt: skip
def test_what_is_forbidden_is_seen(code: str) -> None:
    assert list(forbidden(code))


@pytest.mark.parametrize(
    "code", ["np.load(path, allow_pickle=False)", "spec.load(x)", "re.compile('a')", "model.eval()"]
)
def test_what_is_harmless_is_left_alone(code: str) -> None:
    assert not list(forbidden(code))
