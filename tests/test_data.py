"""benchmarks/data.py, on packages made here: it needs no network for these."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "data.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("CRL_DATA", str(tmp_path / "data"))
    spec = importlib.util.spec_from_file_location("fetched", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fetched", made)
    spec.loader.exec_module(made)
    return made


def packed(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in files.items():
                wheel.writestr(zipfile.ZipInfo(name), content)  # whose time is always the same
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def offered(script: ModuleType, digest: str | None = None, files: dict[str, bytes] | None = None) -> None:
    """Puts a package of this machine in place of MUTAG's."""

    def download(package: str, into: Path) -> None:
        packed(into / "p-1.whl", files or {"grakel/tests/data/MUTAG/MUTAG_A.txt": b"1, 2", "grakel/graph.py": b"!"})

    if digest is None:
        with tempfile.TemporaryDirectory() as folder:
            download("", Path(folder))
            digest = hashlib.sha256((Path(folder) / "p-1.whl").read_bytes()).hexdigest()
    script.DATA["mutag"] = replace(script.DATA["mutag"], download=download, digest=digest)


def test_what_is_wanted_of_a_package_lies_in_the_folder_that_crl_data_names(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offered(script)
    with pytest.raises(FileNotFoundError, match=r"data/mutag\b.*benchmarks/data\.py mutag\b.*CRL_DATA"):
        script.folder_of("mutag")
    script.main(["mutag"])
    folder = tmp_path / "data" / "mutag"
    assert script.folder_of("mutag") == folder
    assert [path.name for path in folder.rglob("*")] == ["MUTAG_A.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["mutag"], "and nothing beside"
    assert str(folder) in capsys.readouterr().out
    script.DATA["mutag"] = replace(script.DATA["mutag"], download=None)
    assert script.fetch("mutag") == folder, "it is not fetched twice"


def test_another_archive_than_the_expected_one_leaves_nothing(script: ModuleType, tmp_path: Path) -> None:
    offered(script, digest="0" * 64)
    with pytest.raises(SystemExit, match=rf"mutag: GraKeL==\S+: p-1\.whl .*{'0' * 64}"):
        script.main(["mutag"])
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("name", ["p.whl", "p.tgz"])
def test_paths_do_not_leave_the_folder(script: ModuleType, tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / name, {"a/fine.txt": b"1", "a/../../worse.txt": b"2"})
    with pytest.raises(SystemExit, match=r"a/\.\./\.\./worse\.txt"):
        script.unpack(archive, script.re.compile(r"(?:a/)(.*)"), tmp_path / "made")
    assert not (tmp_path / "worse.txt").exists()


def test_an_archive_without_the_data_is_named(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"p\.whl\b.*data/\(\.\*\)"):
        script.unpack(packed(tmp_path / "p.whl", {"a.txt": b"1"}), script.re.compile("data/(.*)"), tmp_path / "made")


def test_the_list_names_every_licence(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script.main(["--list"])
    said = capsys.readouterr().out
    for name, data in script.DATA.items():
        assert name in said
        assert data.licence in said
    with pytest.raises(SystemExit):
        script.main(["mutagg"])
    assert "mutagg" in capsys.readouterr().err
