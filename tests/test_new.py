"""A new plugin is whole: it is written, checked, built, installed, found, trained with and uninstalled."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from synthetic import distribution, forget, fresh_registry

from crl_core import CrlError
from crl_core.cli import main
from crl_core.registry import KINDS
from crl_core.scaffold import plan, write
from crl_core.testing.plugin import Plugin
from crl_core.testing.run import Session

ROOT = Path(__file__).parent.parent


def test_a_plugin_is_six_files_and_its_test_is_two_statements(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made"
    assert main(["new", "plugin", "crl-acme", "--out", str(folder)]) == 0
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "pyproject.toml", "README.md", ".github/workflows/tests.yml", "crl_acme/__init__.py", "crl_acme/losses.py",
        "tests/test_conformance.py",
    }  # fmt: skip
    assert (folder / "crl_acme/__init__.py").read_text() == ""
    assert len(ast.parse((folder / "tests/test_conformance.py").read_text()).body) == 2
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["dependencies"] == ["crl-core>=0.2,<0.3"]
    assert project["project"]["entry-points"] == {"crl.loss": {"weighted": "crl_acme.losses:Weighted"}}
    assert project["build-system"]["build-backend"] == "hatchling.build"
    printed = capsys.readouterr().out
    for told in (f"cd {folder}", "pip install -e . --group tests", "pytest", "crl test crl-acme", "acme/weighted"):
        assert told in printed
    for path in folder.rglob("*.*"):
        assert "$name" not in path.read_text() if path.is_file() else True


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_part_under_its_entry_point(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "made"
    plugin = plan("crl-acme", [kind])
    write(plugin, folder)
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]
    assert f"crl.{kind}" in points
    for target in (target for group in points.values() for target in group.values()):
        module, _, name = target.partition(":")
        tree = ast.parse((folder / f"{module.replace('.', '/')}.py").read_text())
        assert name in [node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    compile((folder / "tests/test_conformance.py").read_text(), "test_conformance.py", "exec")


def test_the_parts_of_all_kinds_pass_every_check(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    write(plan("crl-acme", KINDS), folder)
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]
    with fresh_registry(folder):
        distribution(folder, "crl-acme", points, requires=["crl-core>=0.2,<0.3"])
        forget()
        outcomes = Session(Plugin("crl-acme", {}, {}, {})).outcomes()
    assert {outcome.part.kind for outcome in outcomes[:-1]} == set(KINDS)
    assert [outcome.text for outcome in outcomes if outcome.state == "failed"] == []


@pytest.mark.parametrize("kinds", [["sampler"], ["encoder"], ["sampler", "encoder"]])
def test_where_no_source_gives_data_the_test_does(tmp_path: Path, kinds: list[str]) -> None:
    folder = tmp_path / "made"
    write(plan("crl-acme", kinds), folder)
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]
    with fresh_registry(folder):
        distribution(folder, "crl-acme", points)
        forget()
        space: dict[str, object] = {}
        exec((folder / "tests/test_conformance.py").read_text(), space)
        given = space["test_conformance"].plugin.examples  # type: ignore[attr-defined]
        assert set(given) == {f"acme/{name}" for group in points.values() for name in group}


@pytest.mark.parametrize(
    ("name", "kinds", "told"),
    [
        ("crl acme", ["loss"], "'crl acme'"),
        ("-acme", ["loss"], "'-acme'"),
        ("crl/../acme", ["loss"], r"'crl/\.\./acme'"),
        ("7up", ["loss"], "'7up'.*'crl-7up'"),
        ("class", ["loss"], "'class'"),
        ("crl-vision", ["loss"], r"\bcrl-vision\b.*\bversion \d"),
        ("CRL_core", ["loss"], r"(?i)\bcrl.core\b.*\bversion \d"),
        ("vision", ["loss"], r"\bnamespace 'vision'.*\bcrl-vision\b"),
        ("crl-local", ["loss"], r"\bnamespace 'local'"),
        ("json", ["loss"], r"'json'.*\bmodule\b"),
        ("crl-acme", ["los"], r"\bkind 'los'.*\bsampler, "),
        ("crl-acme", ["los"], "'los'.*'loss'"),
    ],
)
def test_a_name_that_will_not_do_is_told(name: str, kinds: list[str], told: str) -> None:
    with pytest.raises(CrlError) as caught:
        plan(name, kinds)
    assert re.search(told, str(caught.value))


def test_what_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    assert main(["new", "plugin", "crl-acme", "--out", str(tmp_path)]) == 1
    assert re.search(rf"{tmp_path}\b.*--out\b", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


# -- in an environment of its own -----------------------------------------------------------------------------

TRAIN = {
    "loss": """
import torch, crl_core as crl

class TwoViews:
    views = ("a", "b")
    def __call__(self, batch):
        return {name: crl.View(batch.data + 0.1 * torch.randn_like(batch.data), batch.meta) for name in self.views}
    def clean(self, batch):
        return batch

torch.manual_seed(0)
pipeline = crl.Pipeline(TwoViews(), encoder=torch.nn.Linear(6, 4), score=crl.Cosine(0.2), loss="acme/weighted")
batch = crl.View(torch.randn(32, 6), {"instance": torch.arange(32)})
optimiser = torch.optim.Adam(pipeline.parameters(), lr=0.05)
for step in range(30):
    optimiser.zero_grad()
    pipeline.loss(batch).total.backward()
    optimiser.step()
    pipeline.on_step()
with torch.no_grad():
    z = pipeline.build(batch).encode(batch)
assert crl.spread(z) > 0.5, crl.spread(z)
""",
    "recipe": """
import sys
from crl_core.cli import main
arguments = ["--set", "epochs=1", "--no-report", "--accelerator", "cpu", "--out", "run"]
sys.exit(main(["train", "acme/series-simclr", *arguments]))
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loss", "recipe"])
def test_a_new_plugin_is_tested_built_installed_trained_with_and_uninstalled(tmp_path: Path, kind: str) -> None:
    uv = pytest.importorskip("uv").find_uv_bin()
    pytest.importorskip("hatchling")
    folder, python = tmp_path / "crl-acme", environment(tmp_path / "venv", uv)
    write(plan("crl-acme", [kind]), folder)
    run(uv, "build", "--wheel", "--no-build-isolation", "--offline", "--python", sys.executable, str(folder))
    (wheel,) = (folder / "dist").glob("*.whl")
    run(uv, "pip", "install", "--offline", "--no-deps", "--python", str(python), str(wheel))

    tested = run(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=folder)
    assert "passed" in tested
    assert "failed" not in tested
    listed = json.loads(crl(python, "list", "--json"))
    assert {part["version"] for part in listed if part["distribution"] == "crl-acme"} == {"0.1.0"}
    assert " 0 problems" in crl(python, "doctor", "crl-acme", "--import")
    run(str(python), "-c", TRAIN[kind], cwd=tmp_path)

    run(uv, "pip", "uninstall", "--python", str(python), "crl-acme")
    assert "acme" not in crl(python, "list")


@pytest.mark.slow
def test_the_wheel_of_the_core_brings_what_a_new_plugin_is_made_of(tmp_path: Path) -> None:
    uv = pytest.importorskip("uv").find_uv_bin()
    pytest.importorskip("hatchling")
    options = ("--wheel", "--no-build-isolation", "--offline", "--python", sys.executable, "--out-dir", str(tmp_path))
    run(uv, "build", *options, str(ROOT))
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    here = ROOT / "crl_core"
    ours = {path for folder in ("scaffold", "testing") for path in (here / folder).rglob("*") if path.is_file()}
    assert {str(path.relative_to(ROOT)) for path in ours if "__pycache__" not in path.parts} <= packed


def environment(folder: Path, uv: str) -> Path:
    """The Python of a fresh environment, which finds all that is installed here, and nothing else."""
    run(uv, "venv", "--offline", "--python", sys.executable, str(folder))
    (site,) = folder.glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "here.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    return folder / "bin" / "python"


def crl(python: Path, *arguments: str) -> str:
    return run(str(python), "-c", f"import sys; from crl_core.cli import main; sys.exit(main({list(arguments)!r}))")


def run(*command: str, cwd: Path | None = None) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout
