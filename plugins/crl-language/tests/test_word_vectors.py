"""Files of word vectors, and what evaluators say of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from crl_language.evaluators.analogies import Analogies
from crl_language.evaluators.word_similarity import WordSimilarity, read_pairs
from crl_language.recipes.skip_gram import skip_gram
from crl_language.vectors import Vectors

import crl_core as crl

WORDS = ["the", "café", "naïve", "日本", "a"]


def some(size: int = 7) -> Vectors:
    return Vectors(WORDS, torch.randn(len(WORDS), size) * torch.logspace(-12, 12, size))


def run() -> tuple[crl.Pipeline, Any]:
    made = crl.recipe(skip_gram, size=4)
    items = made.source.items("train")
    return made.pipeline.build(items.__getitems__([0, 1]), made.source), made.source


def set_to(pipeline: crl.Pipeline, **vectors: list[float]) -> None:
    encoder: Any = pipeline.branches["input"].encoder
    reader: Any = pipeline.reader
    with torch.no_grad():
        for word, vector in vectors.items():
            encoder.weight[reader.number(word)] = torch.tensor(vector)


@pytest.mark.parametrize("binary", [False, True])
def test_files_come_back_exactly(tmp_path: Path, binary: bool) -> None:
    written = some()
    written.save(tmp_path / "vectors", binary=binary)
    read = Vectors.load(tmp_path / "vectors", binary=binary)
    assert read.words == WORDS
    assert torch.equal(read.table, written.table)


@pytest.mark.parametrize("binary", [False, True])
def test_broken_files_are_refused_with_their_name(tmp_path: Path, binary: bool) -> None:
    some().save(tmp_path / "whole", binary=binary)
    whole = (tmp_path / "whole").read_bytes()
    for content in (whole[:-40], b"", b"5\n", b"two 3\n"):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(crl.CrlError, match="broken"):
            Vectors.load(tmp_path / "broken", binary=binary)
    with pytest.raises(crl.CrlError, match="missing"):
        Vectors.load(tmp_path / "missing", binary=binary)


def test_words_with_spaces_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(crl.CrlError, match="New York"):
        Vectors(["New York"], torch.ones(1, 2)).save(tmp_path / "vectors")


def test_vectors_of_a_run_are_its_table() -> None:
    pipeline, _ = run()
    found = Vectors.of(pipeline)
    encoder: Any = pipeline.branches["input"].encoder
    assert torch.equal(found.table, encoder.weight.detach())
    torch.testing.assert_close(found["list"], pipeline.encode(["list"])[0])
    with pytest.raises(crl.CrlError, match=r"'lists?t'.*list"):
        found["listt"]


GENSIM = """
import sys
import numpy as np
from gensim.models import KeyedVectors
folder = sys.argv[1]
for name, binary in (("text", False), ("binary", True)):
    vectors = KeyedVectors.load_word2vec_format(f"{folder}/ours.{name}", binary=binary)
    vectors.save_word2vec_format(f"{folder}/theirs.{name}", binary=binary)
    np.save(f"{folder}/{name}.npy", vectors.vectors)
    assert vectors.index_to_key == sys.argv[2:], vectors.index_to_key
"""


@pytest.mark.peers
def test_gensim_reads_what_we_write_and_we_read_what_gensim_writes(tmp_path: Path) -> None:
    python = peers_python()
    written = Vectors(WORDS, torch.randn(len(WORDS), 20))
    for name, binary in (("text", False), ("binary", True)):
        written.save(tmp_path / f"ours.{name}", binary=binary)
    subprocess.run([python, "-c", GENSIM, str(tmp_path), *WORDS], check=True)
    for name, binary in (("text", False), ("binary", True)):
        read = Vectors.load(tmp_path / f"theirs.{name}", binary=binary)
        assert read.words == WORDS
        torch.testing.assert_close(read.table, written.table, rtol=1e-6, atol=1e-6)


def peers_python() -> str:
    """A Python that has gensim: this one, or the one that the environment variable CRL_PEERS names."""
    if importlib.util.find_spec("gensim"):
        return sys.executable
    found = os.environ.get("CRL_PEERS")
    if not found:
        pytest.skip("gensim isn't installed here, and CRL_PEERS names no Python that has it")
    return found


def test_word_similarity_is_spearmans_over_known_pairs(tmp_path: Path) -> None:
    pipeline, source = run()
    set_to(pipeline, list=[1, 0, 0, 0], tuple=[1, 0.1, 0, 0], file=[0, 1, 0, 0], set=[1, 1, 0, 0], string=[-1, 0, 0, 0])
    lines = [
        "Word 1,Word 2,Human (mean)",
        "list,tuple,9.5",
        "list,set,6",
        "list,file,6.5",
        "list,string,1",
        "list,zzyx,3",
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    found = WordSimilarity(str(tmp_path / "pairs.csv"))(pipeline, source, "test")
    # Ranks by cosine 4 3 2 1, by people 4 2 3 1: 1 - 6 · 2 / (4 · 15).
    assert found == {"word similarity": pytest.approx(0.8), "known pairs": 0.8}


def test_files_of_pairs_in_the_usual_forms(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("# comment\nword1\tword2\tPOS\tSimLex999\nold\tnew\tA\t1.58\t2.72\n", encoding="utf-8")
    assert read_pairs(path) == [("old", "new", 1.58)]
    path.write_text("tiger\tcat\t7.35\nnonsense\n", encoding="utf-8")
    with pytest.raises(crl.CrlError, match=r"pairs.txt, line 2"):
        read_pairs(path)


def test_analogies_leave_out_the_words_of_the_question(tmp_path: Path) -> None:
    pipeline, source = run()
    set_to(pipeline, read=[5, 0, 0, 0], reading=[5, 1, 0, 0], write=[0, 0, 5, 0], writing=[0, 1, 5, 0])
    (tmp_path / "questions.txt").write_text(
        ": verbs\nread reading write writing\nRead Reading Write list\nread reading zzyx zzyxing\n", encoding="utf-8"
    )
    found = Analogies(str(tmp_path / "questions.txt"))(pipeline, source, "test")
    assert found == {"analogies": 0.5, "known questions": pytest.approx(2 / 3)}
    (tmp_path / "questions.txt").write_text("a b c\n", encoding="utf-8")
    with pytest.raises(crl.CrlError, match=r"questions.txt, line 1\b.*3"):
        Analogies(str(tmp_path / "questions.txt"))(pipeline, source, "test")
