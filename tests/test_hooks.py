"""Events have listeners, each plugin's by themselves."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from synthetic import distribution, forget, fresh_registry
from torch import nn

import crl_core as crl
from crl_core import Pipeline, View
from crl_core.cli import main
from crl_core.engine.folder import requirements
from crl_core.registry import PluginError, get, make
from crl_core.registry.hooks import announce, listeners
from crl_core.registry.plugins import core_version
from crl_core.spec.assembly import part_from, part_of
from crl_core.spec.spec import plain

HEARD = """
    import crl_core as crl

    heard = []

    @crl.hook
    def crl_pipeline_built(pipeline):
        heard.append(("built", type(pipeline).__name__))

    @crl.hook
    def crl_step_end(state):
        heard.append(("step", state.progress.step))

    @crl.hook
    def crl_epoch_end(state):
        heard.append(("epoch", state.progress.epoch))
"""
FAMILY = """
    import crl_core as crl
    from torch import nn

    def opened(width: int) -> type:
        class Opened(nn.Module):
            def __init__(self, bias: bool = True) -> None:
                super().__init__()
                self.bias = bias
                self.layer = nn.Linear(width, 2, bias)

            def forward(self, x):
                return self.layer(x)

        return Opened

    made = {}

    @crl.hook
    def crl_find(kind, name):
        family, _, width = name.partition("/")
        if kind == "encoder" and family == "acme-family" and width.isdigit():
            return made.setdefault(width, opened(int(width)))
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder on the path, to write distributions into."""
    with fresh_registry(tmp_path):
        yield tmp_path


def listening(site: Path, name: str, code: str, **more: object) -> None:
    module = f"{name.replace('-', '_')}_hooks"
    distribution(site, name, {"crl.hooks": {name: module}}, modules={module: code}, **more)  # type: ignore[arg-type]
    forget()


def heard(name: str) -> list[object]:
    import importlib

    found: list[object] = importlib.import_module(f"{name}_hooks").heard
    return found


class Points:
    """Both views of a point are the point with noise."""

    views = ("a", "b")

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data + 0.1 * torch.randn_like(batch.data), batch.meta) for name in self.views}

    def clean(self, batch: View) -> View:
        return batch


class Eight:
    """Eight points."""

    splits = ("train",)

    def items(self, split: str) -> Eight:
        return self

    def __len__(self) -> int:
        return 8

    def __getitems__(self, indices: list[int]) -> View:
        torch_indices = torch.tensor(indices)
        return View(torch.eye(8)[torch_indices], {"instance": torch_indices})


def pipeline() -> Pipeline:
    return Pipeline(Points(), encoder=nn.Linear(8, 4), score=crl.Cosine(), loss=crl.InfoNCE())


def batch() -> View:
    return Eight().__getitems__(list(range(8)))


# -- what is announced ----------------------------------------------------------------------------------------


def test_a_built_pipeline_is_announced(site: Path) -> None:
    listening(site, "acme", HEARD)
    pipeline().build(batch())
    assert heard("acme") == [("built", "Pipeline")]


def test_steps_and_epochs_are_announced_while_training(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    listening(site, "acme", HEARD)
    crl.fit(pipeline(), Eight(), crl.Training(epochs=2, batch_size=4), accelerator="cpu")
    assert [what for what, _ in heard("acme")] == ["built", "step", "step", "epoch", "step", "step", "epoch"]
    assert [at for what, at in heard("acme") if what == "epoch"] == sorted(
        at for what, at in heard("acme") if what == "epoch"
    )


def test_a_listener_takes_only_the_arguments_that_it_needs(site: Path) -> None:
    listening(site, "acme", "import crl_core\nheard = []\n@crl_core.hook\ndef crl_step_end(): heard.append(1)\n")
    announce("crl_step_end", state=None)
    assert heard("acme") == [1]


def test_a_listener_that_raises_is_reported_once_and_heard_no_more_while_others_go_on(site: Path) -> None:
    raising = HEARD + "        raise OSError('the disk is full')\n"
    for name, code in (("aaa", HEARD), ("bad", raising), ("zzz", HEARD)):
        listening(site, name, code)
    state = type("State", (), {"progress": crl.Progress(1, 2, 3, 4)})()
    with pytest.warns(UserWarning, match=r"\bcrl_epoch_end\b.*\b1\.0 \(bad_hooks\).*\bOSError\b") as caught:
        announce("crl_epoch_end", state=state)
    assert len(caught) == 1
    assert "Run: crl doctor bad" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        announce("crl_epoch_end", state=state)
        announce("crl_step_end", state=state)
    assert heard("bad") == [("epoch", 3)], "not even its other hooks are called"
    assert heard("aaa") == heard("zzz") == [("epoch", 3), ("epoch", 3), ("step", 1)]


def test_a_hook_that_raises_in_the_middle_of_training_stops_no_training(site: Path) -> None:
    pytest.importorskip("lightning_fabric")
    code = HEARD.replace('heard.append(("step", state.progress.step))', "heard.append(1 / (2 - state.progress.step))")
    listening(site, "crl-bad", code, version="2.1")
    listening(site, "acme", HEARD)
    with pytest.warns(UserWarning, match="crl_step_end") as caught:
        fitted = crl.fit(pipeline(), Eight(), crl.Training(epochs=2, batch_size=4), accelerator="cpu")
    assert fitted.finished
    (told,) = [str(warning.message) for warning in caught if "crl_step_end" in str(warning.message)]
    for text in (
        "crl_step_end of crl-bad 2.1 (crl_bad_hooks)",
        "ZeroDivisionError: division by zero",
        "Run: crl doctor crl-bad",
    ):
        assert text in told
    assert heard("crl_bad") == [("built", "Pipeline"), 1.0], "what it had heard before"
    assert [what for what, _ in heard("acme")] == ["built", "step", "step", "epoch", "step", "step", "epoch"]


# -- what is left out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import crl_core\n@crl_core.hook\ndef crl_step_ended(state): pass",
            r"\bhook 'crl_step_ended'.*'crl_step_end'",
        ),
        ("def crl_step_end(state): pass", r"\bcrl_step_end\b.*@crl_core\.hook\b"),
        ("import crl_core\n@crl_core.hook\ndef crl_step_end(stat): pass", r"\bstat\b"),
        ("import a_module_that_is_missing", r"\bModuleNotFoundError\b.*'a_module_that_is_missing'"),
        ("raise SystemExit('enough')", "SystemExit: enough"),
    ],
)
def test_wrong_hooks_are_left_out_as_a_whole_and_told_about_once(site: Path, code: str, said: str) -> None:
    listening(site, "crl-bad", f"{code}\n", version="4.2")
    listening(site, "acme", HEARD)
    with pytest.warns(UserWarning, match=r"\bhooks\b.*\bcrl-bad 4\.2\b") as caught:
        announce("crl_pipeline_built", pipeline=None)
    (warning,) = caught
    for told in (said, r"\bcrl-bad 4\.2\b", r"\bcrl doctor crl-bad\b"):
        assert re.search(told, str(warning.message))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        announce("crl_pipeline_built", pipeline=None)
    assert heard("acme") == [("built", "NoneType")] * 2
    assert list(listeners().failed) == ["crl-bad"]


def test_hooks_for_another_core_are_left_out_before_the_import(site: Path) -> None:
    import sys

    listening(site, "crl-old", HEARD, requires=["crl-core<0.1"])
    with pytest.warns(UserWarning, match=r"crl-old 1\.0 needs crl-core<0\.1"):
        announce("crl_pipeline_built", pipeline=None)
    assert "crl_old_hooks" not in sys.modules


def test_two_distributions_with_the_same_hooks_are_told_about_and_heard_once(site: Path) -> None:
    listening(site, "acme", HEARD)
    distribution(site, "crl-twin", {"crl.hooks": {"acme": "acme_hooks"}})
    forget()
    with pytest.warns(UserWarning, match=r"crl-twin 1\.0 .*advertised twice"):
        announce("crl_pipeline_built", pipeline=None)
    assert heard("acme") == [("built", "NoneType")]


def test_disabled_plugins_hear_nothing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRL_DISABLE", "acme")
    listening(site, "acme", HEARD)
    announce("crl_pipeline_built", pipeline=None)
    monkeypatch.undo()
    assert heard("acme") == []


# -- families -------------------------------------------------------------------------------------------------


def test_a_plugin_opens_a_family_of_parts(site: Path) -> None:
    listening(site, "acme-family", FAMILY)
    assert make("encoder", "acme-family/8").layer.in_features == 8
    with pytest.raises(PluginError, match=r"\bencoder\b.*'acme-family/x'") as caught:
        get("encoder", "acme-family/x")
    assert "No installed plugin" not in str(caught.value)
    with pytest.raises(PluginError, match=r"\bhead\b"):
        get("head", "acme-family/8")


def test_a_part_of_a_family_stands_in_a_spec_and_comes_back(site: Path) -> None:
    listening(site, "acme-family", FAMILY)
    described = [part_of("encoder", make("encoder", f"acme-family/{width}", bias=False), "e") for width in (8, 9)]
    assert [(part.use, part.options) for part in described] == [
        ("acme-family/8", {"bias": False}),
        ("acme-family/9", {"bias": False}),
    ]
    assert part_from("encoder", described[1], "e").layer.in_features == 9


def test_a_class_that_a_family_gives_under_two_names_has_no_address(site: Path) -> None:
    code = "import crl_core as crl\nfrom torch import nn\n@crl.hook\ndef crl_find(kind, name): return nn.ReLU\n"
    listening(site, "acme-family", code)
    made = make("encoder", "acme-family/a")
    assert part_of("encoder", made, "e").use == "acme-family/a"
    make("encoder", "acme-family/b")
    with pytest.raises(crl.CrlError, match=r"\bacme-family/a\b.*\bacme-family/b\b"):
        part_of("encoder", made, "e")


def test_a_family_comes_after_what_is_advertised(site: Path) -> None:
    listening(site, "acme-family", "import crl_core\n@crl_core.hook\ndef crl_find(kind, name): raise AssertionError\n")
    assert get("loss", "info-nce") is crl.InfoNCE


def test_only_the_plugin_that_owns_the_namespace_is_asked(site: Path) -> None:
    listening(site, "acme-family", FAMILY)
    listening(site, "bad", "import crl_core\n@crl_core.hook\ndef crl_find(kind, name): raise KeyError(name)\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PluginError, match="'info-nce'"):
            get("loss", "info-nec")
        assert make("encoder", "acme-family/3").layer.in_features == 3


def test_a_family_that_raises_is_told_where_its_part_is_asked_for(site: Path) -> None:
    listening(site, "bad", "import crl_core\n@crl_core.hook\ndef crl_find(kind, name): raise KeyError(name)\n")
    with pytest.raises(PluginError) as caught:
        get("loss", "bad/one")
    for told in ("loss 'bad/one'", "crl_find of bad 1.0 (bad_hooks) raised KeyError: 'bad/one'", "Run: crl doctor bad"):
        assert told in str(caught.value)


def test_a_family_says_in_its_own_words_what_is_wrong_with_a_name(site: Path) -> None:
    code = "import crl_core\n@crl_core.hook\ndef crl_find(kind, name): raise crl_core.CrlError('try acme-family/8')\n"
    listening(site, "acme-family", code)
    with pytest.raises(crl.CrlError, match=r"^try acme-family/8$"):
        get("encoder", "acme-family/7")
    assert main(["info", "acme-family/7"]) == 1


def test_a_family_whose_plugin_is_broken_is_not_called_unknown(site: Path) -> None:
    listening(site, "acme-family", "import a_module_that_is_missing")
    with (
        pytest.warns(UserWarning, match=r"\bhooks\b"),
        pytest.raises(
            PluginError,
            match=r"\bencoder\b.*'acme-family/8'.*\bacme-family 1.*\bModuleNotFoundError\b",
        ),
    ):
        get("encoder", "acme-family/8")


def test_a_spec_requires_the_plugin_that_opened_a_part(site: Path) -> None:
    listening(site, "acme-family", FAMILY, version="0.7")
    data = {"encoder": plain(part_of("encoder", make("encoder", "acme-family/8"), "e"))}
    assert requirements(data) == {"acme-family": "0.7", "crl-core": core_version()}


def test_info_shows_a_part_of_a_family(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listening(site, "acme-family", FAMILY, version="0.7")
    assert main(["info", "acme-family/8"]) == 0
    out = capsys.readouterr().out
    for told in ("encoder acme-family/8  (acme-family 0.7)", "acme_family_hooks.py:", "bias: bool = True"):
        assert told in out
    assert main(["info", "acme-family/eight"]) == 1
    assert "no part named 'acme-family/eight'" in capsys.readouterr().err


# -- the doctor -----------------------------------------------------------------------------------------------


def test_what_plugins_tell_the_doctor_is_shown_with_whose_it_is(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("crl_core.doctor.examination.installed", list)  # hooks alone
    listening(
        site, "crl-ill", "import crl_core as crl\n@crl.hook\ndef crl_doctor(): return ['no licence', 'no data']\n"
    )
    listening(site, "crl-bad", "import crl_core as crl\n@crl.hook\ndef crl_doctor(): raise OSError('no disk')\n")
    listening(site, "crl-well", "import crl_core as crl\n@crl.hook\ndef crl_doctor(): return []\n")
    listening(site, "crl-broken", "import a_module_that_is_missing\n")
    assert main(["doctor", "--import"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {"crl-ill: no licence", "crl-ill: no data"} <= set(lines)
    assert any(line.startswith("crl-bad: ") and "OSError: no disk" in line for line in lines)
    assert any(line.startswith("crl-broken: ") and "a_module_that_is_missing" in line for line in lines)
    assert not any(line.startswith("crl-well") for line in lines)
    assert main(["doctor", "crl-ill", "--import"]) == 1
    assert "crl-ill: no data" in capsys.readouterr().out
    assert main(["doctor", "crl-well", "--import"]) == 0, "a plugin that only listens is installed"
