"""What the documentation says runs, block by block, and CI runs what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("plugins/*/README.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def followed(page: Path) -> list[tuple[str, str]]:
    """The Python blocks of a page, each with the block of text that follows it, or with nothing."""
    found = r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```)?"
    return re.findall(found, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def without_decimals(text: str) -> str:
    return re.sub(r"\d+\.\d+", "#", text)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_run_in_order_and_print_what_follows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("crl_vision")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    for block, printed in followed(page):
        exec(compile(block, str(page), "exec"), namespace)
        found = capsys.readouterr().out
        assert not printed or without_decimals(found) == without_decimals(printed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for name in re.findall(r"`((?:crl_core|plugins)/[\w/.-]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def code_of(page: Path) -> str:
    """The Python of a page, each line at its number in the page; also what has the title of a file."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        begins = re.match(r"```python( title=.*)?$", line) is not None
        inside = begins if not inside else line != "```"
        lines.append(line if inside and not begins else "")
    return "\n".join(lines)


@pytest.mark.slow
def test_examples_have_the_types_that_editors_complete(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    for page in PAGES:
        if code_of(page).strip():
            # One name each, of which mypy makes a module.
            name = re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
            (tmp_path / f"{name}.py").write_text(code_of(page), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text("[mypy]\nallow_redefinition = true\nignore_missing_imports = true\n")
    command = ["-m", "mypy", "--config-file", "mypy.ini", "--check-untyped-defs", "--cache-dir", ".cache", "."]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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


def protocols_of(module: object) -> set[str]:
    """The names of the protocols that are written there."""
    found = {name: one for name, one in vars(module).items() if getattr(one, "_is_protocol", False)}
    return {name for name, one in found.items() if one.__module__ == getattr(module, "__name__", "")}


def test_every_kind_and_contract_is_on_the_page_of_contracts() -> None:
    import crl_core as crl
    from crl_core.contracts import kernels, optional, parts
    from crl_core.data import rows

    page = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    for kind in crl.KINDS:
        assert re.search(rf"^\| {kind}", page, re.MULTILINE), f"no line says what a {kind} is"
    kinds = {kind.title() for kind in crl.KINDS}
    # Memory and Chooses are the two forms of `keys`.
    protocols = set[str]().union(*map(protocols_of, (parts, kernels, optional, rows)))
    for name in protocols - kinds - {"Memory", "Chooses"}:
        assert name in page, f"no line says what {name} is"


def test_every_part_that_needs_no_domain_is_on_a_page() -> None:
    import crl_core as crl

    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for part in crl.known():
        assert part.namespace != "core" or f"`{part.name}`" in text or f"core/{part.name}" in text, part.address
