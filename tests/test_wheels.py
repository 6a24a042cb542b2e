"""What is published is whole: types, entry points, and packages that import nothing by themselves."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: "crl-core" if path == ROOT else path.name)
def test_a_wheel_is_whole(project: Path, tmp_path: Path) -> None:
    command = ["-m", "uv", "build", "--wheel", "--no-build-isolation", "--offline", "--out-dir", str(tmp_path)]
    subprocess.run([sys.executable, *command, str(project)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    package = wheel.name.partition("-")[0]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert f"{package}/py.typed" in names, "without it, nobody's editor or mypy looks at our types"
        (points,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
        assert "[crl." in archive.read(points).decode()
        if package != "crl_core":
            assert archive.read(f"{package}/__init__.py").strip() == b""
        top = {name.partition("/")[0] for name in names}
        assert top == {package, points.partition("/")[0]}, "no tests, no documentation"
        sources = {str(path.relative_to(project)) for path in (project / package).rglob("*.py")}
        assert sources <= set(names)
        assert any("licenses/LICENSE" in name for name in names)
