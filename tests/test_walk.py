"""A new author follows docs/first-plugin.md to the letter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "first-plugin.md"
MINUTES = 10
END = "the end of the file"


def steps() -> list[str]:
    """The page as a script: its commands, and its files where they have a title."""
    found = re.findall(r"^```(\w+)(?: title=\"([^\"\n]+)\")?\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    script = []
    for language, title, text in found:
        if language == "console":
            script.append(text)
        elif title:
            script.append(f"cat > {title} <<'{END}'\n{text}{END}\n")
    return script


def environment(folder: Path) -> dict[str, str]:
    """An environment as after `pip install crl-core pytest`, which sees what is installed here instead of a network."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "here.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for command, module in (("crl", "crl_core.cli"), ("pytest", "pytest")):
        script = folder / "bin" / command
        script.write_text(f"#!{folder}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
        script.chmod(0o755)
    # pip takes nothing from anywhere, and builds with what is here.
    alone = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **alone, "PATH": path, "OMP_NUM_THREADS": "1"}


def test_the_page_begins_with_an_environment_and_what_is_published() -> None:
    first = steps()[0].splitlines()
    assert first == ["python3 -m venv .venv", "source .venv/bin/activate", "pip install crl-core pytest"]


@pytest.mark.slow
def test_the_page_leads_to_a_published_plugin(tmp_path: Path) -> None:
    started = time.monotonic()
    variables = environment(tmp_path / "environment")
    script = "set -euxo pipefail\n" + "\n".join(steps()[1:])
    command, limit = ["bash", "-c", script], 60 * MINUTES
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=limit, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for said in (
        r"loss +pulse/unlabelled +crl-pulse 0\.1\.0",
        r"weight: float = 0\.05",
        r"2 parts of 1 distributions, 0 problems",
        r"crl-pulse: 2 parts, \d+ passed",
    ):
        assert re.search(said, done.stdout), said
    (share,) = re.findall(r"the nearest of (\d+)% is of the same kind", done.stdout)
    assert int(share) > 90, "by chance, half are"
    # What it made works where nobody has its folder.
    target = tmp_path / "elsewhere"
    (wheel,) = (tmp_path / "crl-pulse" / "dist").glob("crl_pulse-0.1.0-*.whl")
    install = ["-m", "uv", "pip", "install", "--offline", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    code = "import crl_core as crl; print(crl.make('loss', 'pulse/unlabelled', weight=0.1).weight)"
    there = {**os.environ, "PYTHONPATH": str(target)}
    told = subprocess.run([sys.executable, "-c", code], env=there, capture_output=True, text=True, check=True)
    assert told.stdout == "0.1\n"
    assert time.monotonic() - started < 60 * MINUTES
