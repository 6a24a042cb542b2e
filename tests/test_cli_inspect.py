"""crl list and crl info, and what the command does with a wrong call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import LOSS, distribution, forget, fresh_registry

from crl_core.cli import main
from crl_core.registry import known

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder on the path, to write distributions into."""
    with fresh_registry(tmp_path):
        yield tmp_path


def test_list_shows_every_part_with_whose_it_is(capsys: Captured) -> None:
    assert main(["list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    told = [f"{part.kind} {part.address} {part.distribution} {part.version}".split() for part in known()]
    assert lines == told
    assert ["loss", "core/info-nce"] in [line[:2] for line in lines]


def test_list_as_json_has_the_promised_keys(capsys: Captured) -> None:
    assert main(["list", "loss", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == ["kind", "address", "distribution", "version"] for row in rows)
    assert [row["address"] for row in rows] == [part.address for part in known("loss")]
    assert {row["kind"] for row in rows} == {"loss"}


def test_list_of_an_unknown_kind_suggests_the_right_one(capsys: Captured) -> None:
    assert main(["list", "looss"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: no kind 'looss'" in captured.err
    assert "Did you mean 'loss'" in captured.err


def test_list_shows_a_broken_plugin_like_any_other(site: Path, capsys: Captured) -> None:
    distribution(site, "crl-acme", {"crl.loss": {"lagged": "nowhere_at_all:Loss"}})
    forget()
    assert main(["list", "loss"]) == 0
    assert "acme/lagged" in capsys.readouterr().out
    assert main(["info", "acme/lagged"]) == 1
    assert "crl-acme 1.0" in capsys.readouterr().err


def test_info_shows_options_file_and_text(capsys: Captured) -> None:
    assert main(["info", "core/info-nce"]) == 0
    out = capsys.readouterr().out
    for told in (
        "loss core/info-nce  (crl-core ",
        "info_nce.py:",
        "  positives: Literal['outside', 'inside'",
    ):
        assert told in out
    assert main(["info", "core/info-nce", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["target"] == "crl_core.parts.losses.info_nce:InfoNCE"
    assert told["text"]


def test_info_shows_all_parts_of_a_name(capsys: Captured) -> None:
    assert main(["info", "linear", "--json"]) == 0
    assert [told["kind"] for told in json.loads(capsys.readouterr().out)] == ["evaluator", "head"]


def test_info_of_an_unknown_name_suggests_the_nearest(capsys: Captured) -> None:
    assert main(["info", "info-nec"]) == 1
    err = capsys.readouterr().err
    assert "no part named 'info-nec'" in err
    assert "'info-nce'" in err
    assert "Run: crl list" in err


def test_info_shows_what_there_is_of_a_part_that_python_can_not_read(site: Path, capsys: Captured) -> None:
    points = {"compiled": "builtins:bytearray", "made": "acme_made:Made", "plain": "acme_plain:Loss"}
    modules = {"acme_made": "exec('class Made:\\n    def __init__(self, a: int) -> None: pass')", "acme_plain": LOSS}
    distribution(site, "crl-acme", {"crl.loss": points}, modules=modules)
    forget()
    for name, target in points.items():
        assert main(["info", f"acme/{name}", "--json"]) == 0
        (told,) = json.loads(capsys.readouterr().out)
        assert told["target"] == target
        assert told["options"] == (
            [] if name == "compiled" else ["a: int"] if name == "made" else ["margin: float = 0.0"]
        )
        assert told["file"] == (f"{site / 'acme_plain.py'}:5" if name == "plain" else target)


@pytest.mark.parametrize("wrong", [["lst"], [], ["info"], ["list", "--no-such-option"]])
def test_a_wrong_call_exits_with_2(wrong: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(wrong)
    assert caught.value.code == 2
    assert "usage: crl" in capsys.readouterr().err


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    command = [sys.executable, "-c", "from crl_core.cli import main; raise SystemExit(main(['list']))"]
    # Buffered, as it is by default: then it is the end of the process that can't write any more.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == 0
    assert said == ""
