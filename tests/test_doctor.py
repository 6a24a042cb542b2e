"""The doctor finds what is wrong with the installed plugins, each in its own words."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import LOSS, distribution, forget, fresh_registry, write_module

import crl_core as crl
from crl_core.cli import main
from crl_core.doctor import probe
from crl_core.doctor.examination import Finding, examination, examine
from crl_core.registry.plugins import core_version


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder on the path, to write distributions into."""
    with fresh_registry(tmp_path):
        yield tmp_path


def found() -> list[Finding]:
    """What the doctor finds beyond what is wrong here without any of a test's distributions."""
    forget()
    return examine()


def the_one(findings: list[Finding], distribution_name: str, *told: str) -> None:
    (finding,) = findings
    assert finding.distribution == distribution_name
    for text in told:
        assert text in finding.problem


def test_nothing_is_wrong_here() -> None:
    assert found() == []


def test_what_is_registered_in_this_process_is_nobodys_distribution() -> None:
    crl.register("loss", "mine", crl.InfoNCE)
    assert found() == []


def test_a_sound_plugin_is_no_finding(site: Path) -> None:
    points = {"crl.loss": {"lagged": "sound:Loss"}, "crl.hooks": {"sound": "sound"}, "console_scripts": {"a": "b:c"}}
    distribution(site, "crl-sound", points, requires=["crl-core>=0.1", "torch"], modules={"sound": LOSS})
    assert found() == []
    assert "sound" not in sys.modules, "nothing is imported"


def test_a_distribution_that_is_installed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0", "2.0"):
        distribution(tmp_path / version, "crl-acme", {"crl.loss": {}}, version=version)
        distribution(tmp_path / version, "not-ours", {"console_scripts": {}}, version=version)
        monkeypatch.syspath_prepend(str(tmp_path / version))
    (tmp_path / "1.0" / "crl_acme-1.0.dist-info" / "entry_points.txt").write_text("[crl.loss]\na = sys:path\n")
    the_one(
        found(),
        "crl-acme",
        "installed 2 times",
        "the first hides the others: 2.0 in",
        "1.0 in",
        "pip uninstall crl-acme",
    )


def test_a_folder_that_is_twice_on_the_path_is_no_second_installation(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"a": "sys:path"}, "crl.los": {"b": "sys:path"}})
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert len(found()) == 1, "the misspelt group, once"


def test_a_misspelt_group_is_told_the_right_one(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.losses": {"lagged": "acme:Loss"}})
    the_one(found(), "crl-acme", "'crl.losses'", "'lagged'", "Did you mean 'crl.loss'")


def test_a_range_that_is_not_met(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"a": "sys:path", "b": "sys:path"}}, requires=["crl-core>=9"])
    the_one(found(), "crl-acme", "1.0 needs crl-core>=9", f"this is crl-core {core_version()}", "pip install -U")


def test_a_range_of_a_plugin_that_only_listens(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.hooks": {"acme": "sys"}}, requires=["crl-core<0.1"])
    the_one(found(), "crl-acme", "needs crl-core<0.1")


def test_a_name_that_the_core_has_too(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"info-nce": "sys:path"}, "crl.head": {"info-nce": "sys:path"}})
    the_one(found(), "crl-acme", "loss 'info-nce' alone means the core's", "write 'acme/info-nce'")


def test_an_address_that_two_distributions_have(site: Path) -> None:
    for name in ("acme", "crl-acme"):
        distribution(site, name, {"crl.loss": {"lagged": "sys:path"}})
    findings = found()
    assert sorted(finding.distribution for finding in findings) == ["acme", "crl-acme"]
    assert all("'acme/lagged' is advertised twice" in finding.problem for finding in findings)


@pytest.mark.parametrize("target", ["no_such_package.losses:Loss", ":Loss", ".losses:Loss"])
def test_a_target_whose_package_is_missing(site: Path, target: str) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"lagged": target}})
    the_one(found(), "crl-acme", "loss 'acme/lagged'", "there is no package", target)


def test_hooks_whose_package_is_missing(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.hooks": {"acme": "no_such_package.hooks"}})
    the_one(found(), "crl-acme", "there is no package 'no_such_package'")


@pytest.mark.parametrize(
    ("target", "lacking"), [("acme.lossse:Loss", "acme.lossse"), ("acme.losses.one:Loss", "acme.losses.one"),
                            ("acme.deep.losses:Loss", "acme.deep")],
)  # fmt: skip
def test_a_target_whose_module_is_missing_in_its_package(site: Path, target: str, lacking: str) -> None:
    modules = {"acme.losses": "raise KeyboardInterrupt", "acme.__init__": "raise KeyboardInterrupt"}
    distribution(site, "crl-acme", {"crl.loss": {"lagged": target}}, modules=modules)
    the_one(found(), "crl-acme", f"loss 'acme/lagged': there is no module '{lacking}' for {target}")


def test_a_module_deep_in_a_package_is_found_without_importing_any(site: Path) -> None:
    modules = {"acme.deep.losses": "raise KeyboardInterrupt", "acme.__init__": "raise KeyboardInterrupt"}
    distribution(site, "crl-acme", {"crl.loss": {"lagged": "acme.deep.losses:Loss"}}, modules=modules)
    assert found() == []


def test_a_name_that_nobody_can_write_and_a_target_that_is_no_part(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"my/loss": "sys:path", "whole": "sys"}})
    unnameable, module = found()
    assert "loss 'my/loss'" in unnameable.problem
    assert re.search(r"\bloss 'acme/whole'.*'sys'.*\bmodule:Class\b", module.problem)


@pytest.mark.parametrize("group", ["crl_core.loss", "crl-loss", "clr.loss", "crl.los"])
def test_a_group_that_only_one_who_needs_crl_could_have_meant(site: Path, group: str) -> None:
    distribution(site, "acme", {group: {"lagged": "acme:Loss"}}, requires=["crl-core>=0.1"])
    distribution(site, "stranger", {"crlf.loss": {"a": "b:c"}, "clr.loss": {"a": "b:c"}})
    the_one(found(), "acme", f"{group!r}", "Did you mean 'crl.loss'")


def test_two_providers_of_a_bare_name_are_told_before_somebody_uses_it(site: Path) -> None:
    for name in ("crl-acme", "other"):
        distribution(site, name, {"crl.loss": {"lagged": "sys:path"}})
    mine, others = found()
    assert mine.distribution == "crl-acme"
    assert "alone also means other/lagged (other 1.0): write 'acme/lagged'" in mine.problem
    assert others.distribution == "other"


# -- installed for editing ----------------------------------------------------------------------------------------

PROJECT = """
[project]
name = "crl-acme"
version = "1.0"
[project.entry-points."crl.loss"]
lagged = "sys : path"
"""


def editable(site: Path, source: Path, parts: dict[str, dict[str, str]]) -> None:
    info = distribution(site, "crl-acme", parts)
    (info / "direct_url.json").write_text(json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))


def test_an_installation_for_editing_that_is_as_its_source(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "a source"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    editable(site, source, {"crl.loss": {"lagged": "sys:path"}, "console_scripts": {"acme": "sys:path"}})
    assert found() == []


def test_entry_points_that_came_after_the_installation(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(f'{PROJECT}second = "sys:path"\n')
    editable(site, source, {"crl.loss": {"lagged": "sys:path", "gone": "sys:path"}})
    the_one(found(), "crl-acme", "has changed since it was installed (crl.loss gone, crl.loss second)", "install -e")


def test_a_source_that_is_gone(site: Path, tmp_path: Path) -> None:
    editable(site, tmp_path / "gone", {"crl.loss": {"lagged": "sys:path"}})
    the_one(found(), "crl-acme", "/gone", "pip uninstall crl-acme")


@pytest.mark.parametrize("project", [None, "not = = toml", "[project]\ndynamic = ['entry-points']", "[tool.x]"])
def test_a_source_that_says_nothing_about_its_entry_points(site: Path, tmp_path: Path, project: str | None) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if project is not None:
        (source / "pyproject.toml").write_text(project)
    editable(site, source, {"crl.loss": {"lagged": "sys:path"}})
    assert found() == []


@pytest.mark.parametrize("broken", ["missing", "without a name", "not text"])
def test_broken_metadata(site: Path, broken: str) -> None:
    info = distribution(site, "crl-acme", {"crl.loss": {"lagged": "sys:path"}, "crl.los": {"a": "sys:path"}})
    (info / "METADATA").unlink()
    if broken == "without a name":
        (info / "METADATA").write_text("Version: 1.0\n")
    elif broken == "not text":
        (info / "METADATA").write_bytes(b"\xff\xfe\x00\xd8")
    the_one(found(), info.name, "metadata", str(site), "Install it again")


# -- with imports -------------------------------------------------------------------------------------------------


MODULES = {
    "acme.good": "import json, numpy, torch\nclass Loss:\n    def __init__(self, margin: float = 0.0) -> None: ...",
    "acme.bad": "1 / 0",
    "acme.hangs": "import time; time.sleep(60)",
    "acme.leaves": "raise SystemExit('enough')",
    "acme.dies": "import os, signal; print('last words'); os.kill(os.getpid(), signal.SIGKILL)",
    "acme.loose": "class Loss:\n    def __init__(self, *parts) -> None: ...",
}
IMPORTED = {  # a part, and what is said of it
    "acme.good:Loss": "",
    "acme.bad:Loss": "importing acme.bad:Loss failed after 0.* s: ZeroDivisionError: division by zero",
    "acme.hangs:Loss": "importing acme.hangs:Loss took more than 10 s",
    "acme.good:Lost": "failed after .* s: AttributeError: .*Lost",
    "acme.leaves:Loss": "failed after .* s: SystemExit: enough",
    "acme.dies:Loss": "importing acme.dies:Loss ended the process: signal 9",
    "acme.loose:Loss": r"\bspec: acme.loose.Loss: '\*parts'.*\bannotation",
}


@pytest.fixture
def acme(site: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A distribution whose parts fail at their import in every way, and one that doesn't."""
    monkeypatch.setattr(probe, "SECONDS", 10)
    points = {f"part-{i}": target for i, target in enumerate(IMPORTED)}
    distribution(site, "crl-acme", {"crl.loss": points}, modules=MODULES)
    forget()
    return "crl-acme"


def test_every_part_is_imported_in_a_process_of_its_own(acme: str) -> None:
    found = examination(acme, imports=True)
    assert len(found.imports) == len(IMPORTED)
    for imported, said in zip(found.imports, IMPORTED.values(), strict=True):
        told = "".join(finding.problem for finding in found.findings if imported.address in finding.problem)
        assert re.search(said, told) if said else not told
        assert not told or told.startswith(f"loss '{imported.address}': ")
    assert not set(MODULES) & set(sys.modules)


def test_an_import_is_told_with_its_time_and_what_heavy_packages_it_drags_in(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"crl.loss": {"good": "acme.good:Loss"}}
    distribution(site, "crl-acme", good, modules={"acme.good": MODULES["acme.good"]})
    modules = {"heavy.part": "class Loss: ...", "heavy.__init__": "import torch"}
    distribution(site, "crl-heavy", {"crl.loss": {"heavy": "heavy.part:Loss"}}, modules=modules)
    forget()
    assert main(["doctor", "crl-acme", "--import"]) == 0
    assert re.search(r"^loss +acme/good +\d+\.\d s  .*numpy, .*torch$", capsys.readouterr().out, re.MULTILINE)
    assert main(["doctor", "crl-heavy", "--import", "--json"]) == 0
    (imported,) = json.loads(capsys.readouterr().out)["imports"]
    assert "torch" in imported["heavy"]
    assert imported["package"] == imported["heavy"], "what its __init__ alone drags in"
    assert main(["doctor", "crl-heavy", "--import"]) == 0
    assert "(its package alone: " in capsys.readouterr().out


def test_hooks_are_loaded_in_a_process_of_their_own_too(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 3)
    hook = "import crl_core as crl\n@crl.hook\ndef {}: {}\n"
    modules = {
        "acme.hangs": "import time; time.sleep(60)",
        "acme.misspelt": hook.format("crl_epoch_ends(state)", "..."),
        "acme.ill": hook.format("crl_doctor()", "return ['no licence']"),
        "acme.raises": hook.format("crl_doctor()", "raise OSError('no disk')"),
    }
    points = {name.partition(".")[2]: name for name in modules}
    distribution(site, "crl-acme", {"crl.hooks": points}, modules=modules)
    forget()
    said = [finding.problem for finding in examine("crl-acme", imports=True)]
    for told in (
        r"\bacme\.hangs\b.*\b3 s\b",
        r"\bhook 'crl_epoch_ends'.*'crl_epoch_end'",
        r"\bno licence\b",
        r"\bcrl_doctor\b.*\bOSError: no disk\b",
    ):
        assert sum(bool(re.search(told, problem)) for problem in said) == 1, told
    assert len(said) == 4
    assert not set(modules) & set(sys.modules)


def test_kernels_say_why_they_can_not_run_here(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = """
        class Kernel:
            def unsupported(self, problem):
                return [f"the tensors are on {problem.pairs.query.z.device}, and it needs a quantum computer"]
            def preference(self, problem): return 9.0
            def __call__(self, problem): raise AssertionError

        class Dumb(Kernel):
            def unsupported(self, problem): raise OSError("no driver")
    """
    points = {"quantum": "acme_kernels:Kernel", "dumb": "acme_kernels:Dumb"}
    distribution(site, "crl-acme", {"crl.kernel": points}, modules={"acme_kernels": code})
    forget()
    assert main(["doctor", "crl-acme", "--import"]) == 0, "a kernel that can't run on this machine is no fault"
    out = capsys.readouterr().out
    assert "kernels on cpu:\n" in out
    assert re.search(r"^  acme/quantum: .*\bquantum computer$", out, re.M)
    assert re.search(r"^  acme/dumb: .*\bOSError: no driver$", out, re.M)


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_exit_status_says_whether_anything_is_wrong(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "0 problems" in capsys.readouterr().out
    distribution(site, "crl-acme", {"crl.losses": {"lagged": "acme:Loss"}})
    forget()
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("crl-acme: ")
    assert "1 problems" in out


def test_json_says_what_was_looked_at_and_what_is_wrong(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["parts", "distributions", "problems", "imports"]
    assert told["parts"] > 10
    assert "crl-core" in told["distributions"]
    assert told["problems"] == told["imports"] == []
    distribution(site, "crl-acme", {"crl.losses": {"lagged": "acme:Loss"}})
    forget()
    assert main(["doctor", "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["problems"]
    assert finding["distribution"] == "crl-acme"
    assert "crl.losses" in finding["problem"]


def test_one_distribution_can_be_asked_about(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"lagged": "acme:Loss"}})
    distribution(site, "crl-other", {"crl.loss": {"other": "other:Loss"}})
    write_module(site, "other", "")
    forget()
    assert main(["doctor", "crl-other"]) == 0
    assert main(["doctor", "CRL_Acme"]) == 1, "names are compared as the package index compares them"
    assert "'acme'" in capsys.readouterr().out
    assert main(["doctor", "crl-acmee"]) == 1
    assert re.search(r"\bcrl-acmee\b.*'crl-acme'", capsys.readouterr().out)


def test_what_is_installed_is_not_called_missing(
    capsys: pytest.CaptureFixture[str], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"lagged": "sys:path"}})
    forget()
    assert main(["doctor", "packaging"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"\bpackaging\b.*\bparts\b", printed)
    assert "not installed" not in printed
    monkeypatch.setenv("CRL_DISABLE", "acme")
    forget()
    assert main(["doctor", "crl-acme"]) == 1
    assert re.search(r"\bcrl-acme\b.*\bCRL_DISABLE=acme\b", capsys.readouterr().out)
