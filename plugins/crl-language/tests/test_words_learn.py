"""Every model of words learns from Python's documentation which words are of one kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import crl_core as crl

GROUPS = [
    ["first", "second", "last", "next"],
    ["list", "tuple", "dictionary", "set", "sequence"],
    ["must", "should", "can", "may", "will"],
    ["read", "write", "close", "open"],
    ["int", "float", "string", "bytes", "integer"],
    ["before", "after"],
    ["true", "false", "none"],
]
"""Words of one kind, all of them frequent in Python's documentation."""


def number_of(pipeline: crl.Pipeline, word: str) -> int:
    reader: Any = pipeline.reader
    found = reader.number(word)
    assert found is not None, word
    return int(found)


def met(pipeline: crl.Pipeline, group: list[str]) -> float:
    """How often a word of the group is nearer to another one of it than a word of about the same frequency is."""
    numbers = torch.tensor([number_of(pipeline, word) for word in group])
    encoder: Any = next(iter(pipeline.branches.values())).encoder
    z = F.normalize(encoder.weight.detach(), dim=1)
    shares = []
    for number in numbers:
        own = z[numbers[numbers != number]] @ z[number]
        others = z[[i for i in range(20, 620) if i not in numbers.tolist()]] @ z[number]
        shares.append((own.unsqueeze(1) > others).double().mean())
    return float(torch.stack(shares).mean())


def kinds_are_near(pipeline: crl.Pipeline) -> float:
    """The same for all groups; ½ is chance."""
    return sum(met(pipeline, group) for group in GROUPS) / len(GROUPS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bar"),
    [
        ("skip-gram", 0.8),
        ("cbow", 0.85),
        pytest.param("nce-language-model", 0.85, marks=pytest.mark.recipes),
        pytest.param("vlbl", 0.85, marks=pytest.mark.recipes),
        pytest.param("ivlbl", 0.85, marks=pytest.mark.recipes),
        pytest.param("collobert-weston", 0.75, marks=pytest.mark.recipes),
    ],
)
def test_words_of_one_kind_come_together(name: str, bar: float) -> None:
    made = crl.recipe(name)
    pipeline, source = made.pipeline, made.source
    torch.manual_seed(0)
    pipeline.build(source.items("train").__getitems__([0, 1]), source)
    untrained = kinds_are_near(pipeline)
    assert abs(untrained - 0.5) < 0.15, "chance"
    crl.fit(pipeline, source, made.training, accelerator="cpu", show=False)
    assert kinds_are_near(pipeline) > bar
