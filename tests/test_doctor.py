"""The doctor finds what is wrong with the installed plugins, each in its own words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import LOSS, distribution, forget, fresh_registry, write_module

from crl_core.cli import main
from crl_core.registry import doctor
from crl_core.registry.doctor import Finding, examine
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


def test_a_sound_plugin_is_no_finding(site: Path) -> None:
    points = {"crl.loss": {"decoupled": "sound:Loss"}, "crl.hooks": {"sound": "sound"}, "console_scripts": {"a": "b:c"}}
    distribution(site, "crl-sound", points, requires=["crl-core>=0.1", "torch"], modules={"sound": LOSS})
    assert found() == []
    assert "sound" not in sys.modules, "nothing is imported"


def test_a_distribution_that_is_installed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0", "2.0"):
        distribution(tmp_path / version, "crl-acme", {"crl.loss": {}}, version=version)
        distribution(tmp_path / version, "not-ours", {"console_scripts": {}}, version=version)
        monkeypatch.syspath_prepend(str(tmp_path / version))
    (tmp_path / "1.0" / "crl_acme-1.0.dist-info" / "entry_points.txt").write_text("[crl.loss]\na = sys:path\n")
    the_one(found(), "crl-acme", "installed 2 times", "pip uninstall crl-acme")


def test_a_folder_that_is_twice_on_the_path_is_no_second_installation(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"a": "sys:path"}, "crl.los": {"b": "sys:path"}})
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert len(found()) == 1, "the misspelt group, once"


def test_a_misspelt_group_is_told_the_right_one(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.losses": {"decoupled": "acme:Loss"}})
    the_one(found(), "crl-acme", "'crl.losses' is none of crl's", "'decoupled' is not seen", "Did you mean 'crl.loss'")


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
        distribution(site, name, {"crl.loss": {"decoupled": "sys:path"}})
    findings = found()
    assert sorted(finding.distribution for finding in findings) == ["acme", "crl-acme"]
    assert all("'acme/decoupled' is advertised twice" in finding.problem for finding in findings)


@pytest.mark.parametrize("target", ["no_such_package.losses:Loss", ":Loss", ".losses:Loss"])
def test_a_target_whose_package_is_missing(site: Path, target: str) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"decoupled": target}})
    the_one(found(), "crl-acme", "loss 'acme/decoupled'", "there is no package", target)


def test_hooks_whose_package_is_missing(site: Path) -> None:
    distribution(site, "crl-acme", {"crl.hooks": {"acme": "no_such_package.hooks"}})
    the_one(found(), "crl-acme", "there is no package 'no_such_package'")


@pytest.mark.parametrize("broken", ["missing", "without a name", "not text"])
def test_broken_metadata(site: Path, broken: str) -> None:
    info = distribution(site, "crl-acme", {"crl.loss": {"decoupled": "sys:path"}, "crl.los": {"a": "sys:path"}})
    (info / "METADATA").unlink()
    if broken == "without a name":
        (info / "METADATA").write_text("Version: 1.0\n")
    elif broken == "not text":
        (info / "METADATA").write_bytes(b"\xff\xfe\x00\xd8")
    the_one(found(), info.name, "metadata", str(site), "Install it again")


# -- with imports -------------------------------------------------------------------------------------------------


@pytest.fixture
def only(site: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the one distribution to import, and its parts: each in a process that sees `site`."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    points = {"good": "acme.good:Loss", "bad": "acme.bad:Loss", "hangs": "acme.hangs:Loss", "lacks": "acme.good:Lost"}
    modules = {"acme.good": "class Loss: pass", "acme.bad": "1 / 0", "acme.hangs": "import time; time.sleep(60)"}
    distribution(site, "crl-acme", {"crl.loss": points}, modules=modules)
    forget()
    return "crl-acme"


def test_every_part_is_imported_in_a_process_of_its_own(only: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 1)
    bad, hangs, lacks = examine(only, imports=True)
    assert "loss 'acme/bad'" in bad.problem
    assert "ZeroDivisionError" in bad.problem
    assert "loss 'acme/hangs': importing acme.hangs took more than 1 s" in hangs.problem
    assert "loss 'acme/lacks'" in lacks.problem
    assert "Lost" in lacks.problem
    assert not {"acme", "acme.good", "acme.bad", "acme.hangs"} & set(sys.modules)


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_exit_status_says_whether_anything_is_wrong(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "0 problems" in capsys.readouterr().out
    distribution(site, "crl-acme", {"crl.losses": {"decoupled": "acme:Loss"}})
    forget()
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("crl-acme: ")
    assert "1 problems" in out


def test_json_has_a_table_for_each_finding(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    distribution(site, "crl-acme", {"crl.losses": {"decoupled": "acme:Loss"}})
    forget()
    assert main(["doctor", "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["distribution"] == "crl-acme"
    assert "crl.losses" in finding["problem"]


def test_one_distribution_can_be_asked_about(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"decoupled": "acme:Loss"}})
    distribution(site, "crl-other", {"crl.loss": {"other": "other:Loss"}})
    write_module(site, "other", "")
    forget()
    assert main(["doctor", "crl-other"]) == 0
    assert main(["doctor", "CRL_Acme"]) == 1, "names are compared as the package index compares them"
    assert "there is no package 'acme'" in capsys.readouterr().out
    assert main(["doctor", "crl-acmee"]) == 1
    assert "Did you mean 'crl-acme'" in capsys.readouterr().out
