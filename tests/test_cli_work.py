"""The commands that work on runs, on one tiny run, and what they say of bad input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import simclr as small_simclr

import crl_core as crl
from crl_core import CrlError
from crl_core.cli import main
from crl_core.report.figures import maps, nearest
from crl_core.report.page import write_report
from crl_core.spec import spec

pytest.importorskip("crl_vision")
from crl_vision.sources.digits import Digits

TINY = ["--set", "epochs=1", "--set", "pipeline.branches.query.encoder.width=4", "--accelerator", "cpu"]
OF = ["raw", "untrained", "trained"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of SimCLR, of one epoch on the digits, with its report."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "simclr", "--out", str(path), *TINY]) == 0
    return path


Call = Callable[..., str]


@pytest.fixture
def ok(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command that has to succeed; returns what it printed."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert status == 0, said.err
        return said.out

    return call


@pytest.fixture
def wrong(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command that has to fail, with one line in words; returns that."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        assert status == 1
        assert said.out == ""
        *before, last = said.err.splitlines()
        assert last.startswith("error: ")
        assert all(line.startswith("preset ") for line in before), said.err
        return last

    return call


# -- train -------------------------------------------------------------------------------------------------------


def test_train_leaves_what_the_documentation_says(run: Path) -> None:
    names = {"spec.toml", "metrics.jsonl", "tensorboard", "checkpoint.safetensors", "evaluation.json", "report.html"}
    assert {path.name for path in run.iterdir()} >= {*names, "figures"}
    data = spec.read(run / "spec.toml")
    assert data["training"]["epochs"] == 1
    assert data["pipeline"]["branches"]["query"]["encoder"] == {
        "use": "vision/conv-net", "width": 4, "stages": 4, "channels": 1, "mean": 0.5, "std": 0.25,
        "norm": "batch",
    }  # fmt: skip
    assert set(data["requires"]) == {"crl-core", "crl-vision"}
    assert set(data["made_with"]) == {"python", "torch"}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 11]


class Links(HTMLParser):
    """Everything that a page would fetch, its headings and its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.headings: list[str] = []
        self.tag = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        assert tag != "script"
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        if self.tag == "h2" and data.strip():
            self.headings.append(data)


def test_the_report_is_one_file_with_all_its_pictures(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Links()
    page.feed(text)
    pictures = ["curve", "knn", "linear", "map", "views", "neighbours"]
    assert page.headings == ["Figures", *[name.capitalize() for name in pictures], "Spec"]
    assert len(page.links) == len(pictures)
    assert all(link.startswith("data:image/png;base64,iVBOR") for link in page.links), "nothing from outside"
    assert "url(" not in text
    assert "@import" not in text
    assert {path.stem for path in (run / "figures").iterdir()} == set(pictures)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (run / "figures").iterdir())
    assert "pipeline.contrasts" in text, "the spec"
    figures = json.loads((run / "evaluation.json").read_text())
    assert f"{figures['knn']['moved']['trained']:.4g}" in text


def test_a_report_of_few_items_without_labels_is_written_too(tmp_path: Path) -> None:
    class Few(Digits):
        def items(self, split: str) -> Any:
            return crl.InMemory(super().items(split).data[:4])

    crl.register("source", "few-digits", Few)
    made = crl.recipe("simclr", source=Few())
    training = crl.Training(epochs=1, log_every=1)
    fitted = crl.fit(made.pipeline, made.source, training, out=tmp_path, show=False, accelerator="cpu", devices=1)
    found = crl.evaluate(fitted.pipeline, made.source)
    page = write_report(tmp_path, fitted.pipeline, crl.recipe("simclr", source=Few()).pipeline, made.source, found)
    assert re.search(r"\bKNN\b.*\bcolumn\b", page.read_text(encoding="utf-8"))


def test_maps_and_neighbours_of_a_handful_of_rows() -> None:
    assert maps({"raw": torch.randn(3, 4)}, None).axes
    assert nearest(torch.eye(3), torch.eye(3)[[2, 0]], 5).tolist() == [[1, 0], [0, 1], [0, 1]]


def test_training_again_from_the_spec_of_a_run_gives_the_same_weights(run: Path, tmp_path: Path, ok: Call) -> None:
    ok("train", run / "spec.toml", "--out", tmp_path / "again", "--no-report", "--accelerator", "cpu")
    one, other = (load_file(path / "checkpoint.safetensors") for path in (run, tmp_path / "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "again" / "report.html").exists()


def test_runs_get_a_folder_of_their_own_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ok: Call) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "simclr-1").mkdir(parents=True)
    ok("train", "simclr", "--no-report", *TINY)
    assert (tmp_path / "runs" / "simclr-2" / "checkpoint.safetensors").exists()


def test_resuming_a_finished_run_leaves_it_as_it_is(run: Path, ok: Call) -> None:
    before = (run / "metrics.jsonl").read_text(), load_file(run / "checkpoint.safetensors")
    ok("train", "--resume", run, "--no-report", "--accelerator", "cpu")
    after = load_file(run / "checkpoint.safetensors")
    assert (run / "metrics.jsonl").read_text() == before[0]
    assert all(torch.equal(before[1][name], value) for name, value in after.items())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simclrr"], r"\brecipe\b.*'simclrr'.*'simclr'"),
        (["simclr", "--set", "epoch=1"], "'epoch'.*'epochs'"),
        (["simclr", "--set", "epochs=lots"], r"\btraining.epochs\b.*'lots'"),
        (["simclr", "--set", "epochs=1.5"], r"\btraining.epochs\b.*\b1\.5\b"),
        (["simclr", "--set", "epochs=-1"], "training: 'epochs' must be > 0: -1"),
        (["simclr", "--set", "clip=0"], "training: 'clip' must be > 0"),
        (["simclr", "--set", "temperature=cold"], r"\btemperature\b.*'cold'"),
        (["simclr", "--set", "temperature=-1"], r"\btemperature\b.*\b0\b.*-1\b"),
        (["simclr", "--set", "optimiser=lasr"], r"\btraining.optimiser\b.*'lars'"),
        (["simclr", "--set", "epochs"], r"\bKEY=VALUE\b.*'epochs'"),
        (["simclr", "--set", "source=nothing"], r"\bsource\b.*'nothing'"),
        (["simclr", "--set", "pipeline.branches.query.encoder.widht=4"], "'widht'.*'width'"),
        (["simclr", "--set", "pipeline.contrasts.7.weight=4"], r"\bpipeline.contrasts\b.*\b0\b.*\b0\b.*'7'"),
        (["nowhere/spec.toml"], r"\bspec\b.*\bnowhere.spec\.toml\b"),
        (["simclr", "--resume", "runs/x"], r"\brecipe\b.*\bspec\b.*--resume\b"),
        ([], r"\brecipe\b.*\bspec\b.*--resume\b"),
        (["--resume", "nowhere"], r"\bnowhere\b.*\brun\b.*\bspec\.toml\b"),
        (["--resume", "nowhere", "--out", "elsewhere"], r"\brun\b.*\bfolder\b"),
        (["simclr", "--accelerator", "abacus"], r"\btrain\b.*\baccelerator='abacus'"),
        (["simclr", "--devices", "many"], r"\btrain\b.*\bdevices='many'"),
    ],
)
def test_train_says_what_is_wrong(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(said, wrong("train", *arguments))
    assert not list(tmp_path.iterdir()), "and nothing is left lying around"


def test_train_leaves_other_folders_alone(run: Path, tmp_path: Path, wrong: Call) -> None:
    assert str(run) in wrong("train", "simclr", "--out", run, *TINY)
    assert re.search(r"\btraining\.epochs\b.*\b1\b.*\b2\b", wrong("train", "--resume", run, "--set", "epochs=2"))
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in wrong("train", "simclr", "--out", tmp_path / "file", *TINY)
    assert f"{tmp_path} is no run: it has no spec.toml" in wrong("train", tmp_path)


# -- specs that are not as they should be ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[training]", "[trainign]", r"'trainign'.*\bspec\b"),
        ("epochs = 1", "epoch = 1", r"\btraining\b.*'epoch'.*'epochs'"),
        ("epochs = 1", 'epochs = "one"', r"\btraining.epochs\b.*'one'"),
        (
            "temperature = 0.5",
            "temprature = 0.5",
            r"\bcontrasts\.0\.score\b.*'temprature'.*'temperature'",
        ),
        ("core/info-nce", "core/info-nec", r"\bloss\b.*'core/info-nec'.*'core/info-nce'"),
        ("width = 4", "width = true", r"\bencoder.width\b.*\bTrue\b"),
        ("[training]", "[training", r"\bspec\b.*\bspec\.toml\b"),
        ("schema = 2", "schema = 7", "schema 7"),
        (
            'crl-vision = "',
            'crl-visions = "',
            r"\bcrl-visions\b.*\bpip install crl-visions==",
        ),
        ('same("instance") & ~same("row")', 'same("instance") and', r"\bpositive\b.*\brelation\b"),
    ],
)
@pytest.mark.parametrize("command", ["train", "explain"])
def test_a_spec_with_a_mistake_is_told_by_place(
    command: str, old: str, new: str, said: str, run: Path, tmp_path: Path, wrong: Call
) -> None:
    text = (run / "spec.toml").read_text()
    assert old in text
    (tmp_path / "spec.toml").write_text(text.replace(old, new, 1))
    assert re.search(said, wrong(command, tmp_path / "spec.toml"))


def test_a_spec_needs_a_pipeline_and_a_source_but_no_training(run: Path, tmp_path: Path, ok: Call, wrong: Call) -> None:
    data = spec.read(run / "spec.toml")
    bare = {name: value for name, value in data.items() if name != "training"}
    spec.write(bare, tmp_path / "bare.toml")
    assert "training.epochs = 100" in ok("explain", tmp_path / "bare.toml")
    assert "training.epochs = 3" in ok("explain", tmp_path / "bare.toml", "--set", "epochs=3")
    (tmp_path / "export").mkdir()
    spec.write({name: data[name] for name in ("schema", "pipeline")}, tmp_path / "export" / "spec.toml")
    assert re.search(r"\bspec\b.*\bsource\b", wrong("train", tmp_path / "export"))
    assert re.search(r"\bsource: .*'digits'", wrong("train", tmp_path / "export", "--set", "source=digits"))
    own = ok("explain", tmp_path / "export", "--set", 'source={use="vision/digits"}', "--set", "training.epochs=3")
    assert "training.epochs = 3" in own
    spec.write({"schema": 1}, tmp_path / "empty.toml")
    assert re.search(r"\bspec\b.*\bpipeline\b", wrong("explain", tmp_path / "empty.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "binary.toml" in wrong("train", tmp_path / "binary.toml")


# -- evaluate ----------------------------------------------------------------------------------------------------


def test_evaluate_prints_one_json_object(run: Path, ok: Call) -> None:
    found = json.loads(ok("evaluate", run, "--json"))
    assert found == json.loads((run / "evaluation.json").read_text()), "the figures of the report, whenever one asks"
    assert set(found) == {"knn", "linear", "alignment", "uniformity", "effective_rank"}
    for splits in found.values():
        assert list(splits) == ["clean", "moved"]
        assert all(list(values) == OF for values in splits.values())
    for split in ("clean", "moved"):
        assert all(0.1 < found["knn"][split][of] <= 1 for of in OF)
    assert found["knn"]["clean"]["raw"] > 0.9
    assert found["knn"]["moved"]["raw"] < 0.6


def test_evaluate_prints_a_table_and_takes_a_choice(run: Path, ok: Call) -> None:
    lines = ok("evaluate", run, "--only", "knn").splitlines()
    assert lines[0].split() == OF
    assert [line[:12].strip() for line in lines[1:]] == ["knn, clean", "knn, moved"]


def test_evaluate_transfers_to_other_data(run: Path, tmp_path: Path, ok: Call, wrong: Call) -> None:
    """Trained on upright digits: told apart lying on their side, on splits of which one is learned from."""
    arrays = {}
    for split, ours in (("train", "train"), ("test", "moved")):
        items = Digits().items(ours)
        view = items.__getitems__(list(range(min(len(items), 300))))
        arrays[f"{split}_images"] = view.data.rot90(1, (2, 3)).permute(0, 2, 3, 1).numpy()
        arrays[f"{split}_labels"] = view.meta["label"].numpy()
    np.savez(tmp_path / "lying.npz", **arrays)
    call = ("evaluate", run, "--source", "vision/arrays", "--set", f"path={tmp_path / 'lying.npz'}", "--only", "knn")
    found = json.loads(ok(*call, "--json"))["knn"]
    assert list(found) == ["test"]
    assert list(found["test"]) == OF
    assert found["test"]["trained"] > 0.2
    assert re.search(r"--set\b.*--source\b", wrong("evaluate", run, "--set", "path=x.npz"))
    assert "'vision/array'" in wrong("evaluate", run, "--source", "vision/array")


def test_evaluate_says_what_is_wrong(run: Path, tmp_path: Path, wrong: Call) -> None:
    assert re.search(rf"{tmp_path}\b.*\bspec\.toml\b", wrong("evaluate", tmp_path))
    assert re.search(r"\bnowhere\b.*\brun\b", wrong("evaluate", "nowhere", "--json"))
    assert re.search(r"\bevaluator\b.*'knm'.*'knn'", wrong("evaluate", run, "--only", "knm"))
    (tmp_path / "spec.toml").write_bytes((run / "spec.toml").read_bytes())
    assert "model.safetensors" in wrong("evaluate", tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"broken")
    assert "checkpoint.safetensors" in wrong("evaluate", tmp_path)


# -- embed -------------------------------------------------------------------------------------------------------


def test_embed_writes_representations_in_either_format(run: Path, tmp_path: Path, ok: Call) -> None:
    said = ok("embed", run, "clean", "--out", tmp_path / "x.npz")
    assert re.search(r"\b360\b.*\b32\b.*\binstance, label\b", said)
    ok("embed", run, "clean", "--out", tmp_path / "x.safetensors")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    tensors = load_file(tmp_path / "x.safetensors")
    assert set(arrays) == set(tensors) == {"representation", "instance", "label"}
    assert all(torch.equal(arrays[name], tensors[name]) for name in arrays)
    items = Digits().items("clean")
    assert torch.equal(arrays["label"], items.columns["label"])
    some = crl.load(run).encode(items.__getitems__([0, 7, 300]))
    torch.testing.assert_close(arrays["representation"][[0, 7, 300]], some)


def test_embed_takes_other_sources(run: Path, tmp_path: Path, ok: Call, wrong: Call) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", train_images=images, test_images=images[:3])
    path = f'path="{tmp_path / "mine.npz"}"'
    assert "3 representations" in ok("embed", run, "vision/arrays", "--set", path, "--out", tmp_path / "x.npz")
    assert "5 representations" in ok("embed", run, "vision/arrays:train", "--set", path, "--out", tmp_path / "x.npz")
    said = wrong("embed", run, "vision/arrays:tran", "--set", path, "--out", tmp_path / "x.npz")
    assert re.search(r"\btrain, test\b.*'tran'.*'train'", said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["moved", "--out", "x.csv"], r"\bx\.csv\b.*\.npz\b.*\.safetensors\b"),
        (["moved", "--out", "x"], r"\bx\b.*\.npz\b.*\.safetensors\b"),
        (["moved", "--out", "no/such/folder/x.npz"], r"\bfolder no/such/folder\b"),
        (["moved", "--out", "no/such/folder/x.safetensors"], r"\bfolder no/such/folder\b"),
        (
            ["movd"],
            r"'movd'.*\bsplit\b.*\btrain, clean, moved\b.*\bsource\b",
        ),
        (["moved", "--set", "path=x"], r"--set\b.*'moved'.*\bsplit\b"),
        (["vision/arrays", "--set", "path=nothing.npz"], r"\bnothing.npz\b"),
    ],
)
def test_embed_says_what_is_wrong(
    arguments: list[str], said: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(said, wrong("embed", run, *arguments))
    assert not list(tmp_path.iterdir())


def test_embed_of_no_run(tmp_path: Path, wrong: Call) -> None:
    assert "is no run" in wrong("embed", tmp_path, "moved", "--out", tmp_path / "x.npz")


# -- export ------------------------------------------------------------------------------------------------------


def test_export_writes_what_load_reads_and_onnx(run: Path, tmp_path: Path, ok: Call) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    said = ok("export", run, "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"spec.toml", "model.safetensors", "encoder.onnx"}
    assert re.search(r"encoder\.onnx: the encoder, within \d\S* of torch's numbers", said)
    batch = Digits().items("moved").__getitems__(list(range(9)))
    expected = crl.load(run).encode(batch)
    assert torch.equal(crl.load(tmp_path / "out").encode(batch), expected)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "encoder.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"data": (batch.data.float() / 255).numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_export_says_what_is_wrong(run: Path, tmp_path: Path, wrong: Call) -> None:
    assert "is no run" in wrong("export", tmp_path)
    before = (run / "spec.toml").read_text()
    assert re.search(r"\brun\b.*\bspec\b", wrong("export", run, "--out", run))
    assert (run / "spec.toml").read_text() == before
    (tmp_path / "file").write_text("")
    assert "can't write to" in wrong("export", run, "--out", tmp_path / "file")


# -- explain and methods -----------------------------------------------------------------------------------------


def test_explain_tells_every_slot_of_a_recipe_a_spec_and_a_run(run: Path, ok: Call) -> None:
    recipe = ok("explain", "simclr", "--set", "epochs=1", "--set", "pipeline.branches.query.encoder.width=4")
    assert ok("explain", run / "spec.toml") == recipe, "with the weights of the seed"
    trained = ok("explain", run)
    assert ok("explain", run) == trained
    (slots, one), (theirs, other) = (text.split("The first batch, 128 items:") for text in (recipe, trained))
    assert slots == theirs
    assert one != other, "with the weights of the run"
    for slot, address, file in (
        ("source", "vision/digits", "sources/digits.py"),
        ("pipeline.sampler", "vision/augmented", "samplers/augmented.py"),
        ("pipeline.branches.query.encoder", "vision/conv-net", "encoders/conv_net.py"),
        ("pipeline.branches.query.head", "core/mlp", "parts/heads/mlp.py"),
        ("pipeline.contrasts.0.score", "core/cosine", "parts/scores/cosine.py"),
        ("pipeline.contrasts.0.loss", "core/info-nce", "parts/losses/info_nce.py"),
    ):
        assert re.search(rf"^{slot} = {address}  \(crl-\w+ [\d.]+, .*{file}:\d+\)$", recipe, re.MULTILINE), slot
    assert "  training.epochs = 1\n" in recipe
    assert "  pipeline.branches.query.encoder.width = 4\n" in recipe
    assert "The first batch, 128 items:" in recipe
    assert re.search(r"query: 256 × 256 scores by the kernel core/\w+", recipe)
    assert '1 positive, by same("instance") & ~same("row")' in recipe
    assert '254 negative, by ~same("instance") & ~same("row")' in recipe


def test_explain_knows_a_head_from_an_evaluator_of_the_same_name(ok: Call) -> None:
    said = ok("explain", "simclr", "--set", "pipeline.branches.query.head={use='core/linear', size=8}")
    assert re.search(r"query\.head = core/linear  \(.*parts/heads/linear\.py:\d+\)", said)


def test_explain_fills_a_queue_before_it_looks(ok: Call) -> None:
    said = ok("explain", "moco-v2", "--query", "3")
    assert '127 negative, by ~same("instance") & ~same("batch")' in said
    assert "query-key: 128 × 256 scores" in said


def test_explain_names_the_query_that_was_asked_for(ok: Call, capsys: pytest.CaptureFixture[str]) -> None:
    first, other = (re.search(r"the query has .*instance (\d+)", ok("explain", "simclr", "--query", q)) for q in (0, 5))
    assert first is not None
    assert other is not None
    assert first[1] != other[1]
    assert main(["explain", "simclr", "--query", "256"]) == 1
    assert capsys.readouterr().err == "error: query has queries 0 to 255, not 256\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simclrr"], r"\brecipe\b.*'simclrr'.*'simclr'"),
        (["simclr", "--set", "temprature=1"], "'temprature'.*'temperature'"),
        (["nowhere.toml"], r"\bspec\b.*\bnowhere\.toml\b"),
        (["."], r"\brun\b.*\bspec\.toml\b"),
    ],
)
def test_explain_says_what_is_wrong(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(said, wrong("explain", *arguments))


def test_methods_have_all_columns_of_the_papers_tables(ok: Call) -> None:
    rows = json.loads(ok("methods", "--json"))
    keys = {"name", "domain", "query", "positive", "negative", "encoder", "heads", "loss", "paper"}
    assert {row["name"] for row in rows if row["domain"] == "vision"} >= {"simclr", "moco-v2", "byol", "sup-con"}
    for row in rows:
        assert set(row) == keys
        assert all(isinstance(value, str) and value.strip() for value in row.values()), row["name"]
    byol = next(row for row in rows if row["name"] == "byol")
    assert byol["negative"] == "none"
    assert byol["paper"].startswith("Grill, Strub,")
    text = ok("methods")
    for row in rows:
        assert f"{row['domain']}/{row['name']}\n" in text
        assert row["paper"] in text


# -- all of them -------------------------------------------------------------------------------------------------


def test_ctrl_c_outside_of_training_is_no_traceback(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crl_core.evaluation.evaluate.evaluate", interrupted)
    assert main(["evaluate", str(run)]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_mistake_of_crl_itself_is_no_error_in_words(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw keeps its traceback, for the report of a bug."""

    def broken(*arguments: Any, **options: Any) -> None:
        raise AssertionError("this can't be")

    monkeypatch.setattr("crl_core.evaluation.evaluate.evaluate", broken)
    with pytest.raises(AssertionError, match="this can't be"):
        main(["evaluate", str(run)])


def test_a_run_with_parts_of_one_process_can_be_used_there(tmp_path: Path, ok: Call, wrong: Call) -> None:
    from small import Points

    training = crl.Training(epochs=1, batch_size=16)
    crl.fit(small_simclr(), Points(), training, out=tmp_path / "run", accelerator="cpu", devices=1, show=False)
    found = json.loads(ok("evaluate", tmp_path / "run", "--only", "knn", "--json"))
    assert list(found["knn"]["test"]) == OF
    assert "local/small-" in wrong("export", tmp_path / "run")
    with pytest.raises(CrlError, match=r"\blocal/\S+"):
        crl.save(crl.load(tmp_path / "run"), tmp_path / "out")
