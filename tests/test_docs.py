"""What the documentation says runs, block by block, and CI runs what the README says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("plugins/*/README.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("crl_vision")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_commands_name_what_exists() -> None:
    from crl_core.cli import _parser

    known = {choice for action in _parser()._actions if action.choices for choice in action.choices}
    for page in PAGES:
        for block in blocks(page, "console"):
            for command in re.findall(r"(?:^|/)crl (\S+)", block, re.MULTILINE):
                assert command in known, f"{page.name}: crl {command}"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = blocks(ROOT / "README.md", "console")
    assert commands[1].strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert commands[1].strip() in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
