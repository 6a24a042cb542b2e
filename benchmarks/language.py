"""Words and sentences: what the methods reach and cost, beside other libraries.

    OMP_NUM_THREADS=1 python benchmarks/language.py verses.txt [--json] [--batch-size 8] [--epochs 5]

The file has a text on each line. Every row is {name, metric, ours, peer}; the peer, gensim, is measured in the same run
where it is installed, and null where it isn't (CRL_PEERS may name another Python that has it). One thread. Both have
100 numbers for each word that occurs 5 times, windows of 5, 5 noise words and subsampling at 1e-3. crl shuffles the
texts in every epoch. For the neighbours of words, gensim is given them shuffled too: the order matters more than the
seed does, as the last row shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from crl_language.readers.words import Words
from crl_language.recipes.skip_gram import skip_gram
from crl_language.sources.lines import Lines
from crl_language.vectors import Vectors
from rows import show

import crl_core as crl

FIRST, LAST = 100, 1_100  # the words, by frequency, whose neighbours are compared
PEER = """
import json, random, sys, time
from gensim.models import Word2Vec
texts = json.load(open(sys.argv[1]))
epochs, found = int(sys.argv[3]), []

class Shuffled:
    def __init__(self, seed):
        self.random = random.Random(seed)
    def __iter__(self):
        return iter(self.random.sample(texts, len(texts)))

for name, seed, given in (("1", 1, Shuffled(1)), ("2", 2, Shuffled(2)), ("in order", 1, texts)):
    model = Word2Vec(vector_size=100, window=5, negative=5, sg=1, min_count=5, sample=1e-3, workers=1, seed=seed)
    model.build_vocab(texts)
    start = time.process_time()
    model.train(given, total_examples=len(texts), epochs=epochs)
    found.append(sum(map(len, texts)) * epochs / (time.process_time() - start))
    model.wv.save_word2vec_format(f"{sys.argv[2]}/{name}.bin", binary=True)
print(json.dumps(found))
"""


def gensim(texts: list[list[str]], epochs: int) -> tuple[float, list[Vectors]] | None:
    """Words a CPU second, and the vectors of two seeds and of texts in order; None where it isn't installed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "texts.json").write_text(json.dumps(texts))
        command = [os.environ.get("CRL_PEERS", sys.executable), "-c", PEER, f"{folder}/texts.json", folder, str(epochs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"gensim has no rows: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            return None
        return max(json.loads(done.stdout)), [
            Vectors.load(f"{folder}/{name}.bin", binary=True) for name in ("1", "2", "in order")
        ]


def overlap(one: Vectors, other: Vectors, words: list[str], known: list[str]) -> float:
    """The mean share of the ten nearest words that both have in common."""
    return sum(map(_share, _nearest(one, words, known), _nearest(other, words, known))) / len(words)


def _share(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one)


def _nearest(vectors: Vectors, words: list[str], known: list[str]) -> list[set[int]]:
    table = F.normalize(torch.stack([vectors[word] for word in known]), dim=1)
    place = {word: number for number, word in enumerate(known)}
    own = torch.tensor([place[word] for word in words])
    cosine = table[own] @ table.T
    cosine[torch.arange(len(own)), own] = -2.0
    return [set(row) for row in cosine.topk(10).indices.tolist()]


def rows(path: str, batch_size: int, epochs: int) -> Iterator[dict[str, Any]]:
    made = crl.recipe(
        skip_gram, preset="paper", source=Lines(path, held_out=1e-4), size=100, batch_size=batch_size, epochs=epochs
    )
    start = time.process_time()
    crl.fit(made.pipeline, made.source, made.training, accelerator="cpu", show=False)
    seconds = time.process_time() - start
    ours, reader, items = Vectors.of(made.pipeline), Words(), Lines(path, held_out=1e-4).items("train")
    texts = [reader.split(text) for text in items.data]
    peer = gensim(texts, epochs)
    speed = sum(map(len, texts)) * epochs / seconds
    yield {"name": "skip-gram", "metric": "words/CPU s", "ours": speed, "peer": None if peer is None else peer[0]}
    if peer is not None:
        one, other, in_order = peer[1]
        known = [word for word in ours.words if word in one and word in other]
        words = known[FIRST:LAST]
        between = overlap(one, other, words, known)
        for name, theirs in (("gensim", one), ("gensim in order", in_order)):
            yield {
                "name": "skip-gram",
                "metric": f"top-10 overlap with {name} (peer: two seeds of gensim)",
                "ours": overlap(ours, theirs, words, known),
                "peer": between,
            }
        yield {
            "name": "gensim",
            "metric": "top-10 overlap, shuffled with in order (peer: two seeds)",
            "ours": overlap(one, in_order, words, known),
            "peer": between,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", metavar="FILE", help="texts, one on each line")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    show(rows(options.path, options.batch_size, options.epochs), _line, options.json)


def _line(row: dict[str, Any]) -> str:
    peer = "—" if row["peer"] is None else f"{row['peer']:,.3f} (ratio {row['ours'] / row['peer']:.2f})"
    return f"{row['name']:<12} {row['metric']:<66} {row['ours']:>12,.3f} {peer}"


if __name__ == "__main__":
    main()
