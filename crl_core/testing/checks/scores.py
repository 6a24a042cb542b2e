"""Checks of scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...contracts.parts import FactorisedScore
from ...parts.scores.dot import product
from ..outcome import Skips, expect, finite, same_numbers
from ..plugin import Case
from ..subject import built, in_double
from .losses import of_a_contrast


def all_against_all(case: Case) -> None:
    """Queries `[N, D]` and keys `[M, D]` give `[N, M]`, finite."""
    score, query, key = _score(case)
    found = score(query, key)
    expect(found.shape == (len(query), len(key)), f"it gives {list(found.shape)} for {len(query)} and {len(key)} rows")
    finite([found], "the scores")


def keys_per_query_agree(case: Case) -> None:
    """Keys per query, `[N, 1 or K, D]` with `[N, K, D]` to `[N, K]`, get the same scores as shared keys."""
    score, query, key = _score(case)
    wanted = score(query, key)
    keys = key.expand(len(query), *key.shape)
    same_numbers(score(query.unsqueeze(1), keys), wanted, "queries [N, 1, D] with keys [N, K, D]")
    repeated = query.unsqueeze(1).expand_as(keys)
    same_numbers(score(repeated, keys), wanted, "queries [N, K, D] with keys [N, K, D]")


def pairs_depend_on_nothing_else(case: Case) -> None:
    """The score of a pair depends on no other row, and not on their order."""
    score, query, key = _score(case)
    whole = score(query, key)
    rows, columns = torch.tensor([5, 1, 6]), torch.tensor([4, 0])
    same_numbers(score(query[rows], key[columns]), whole[rows][:, columns], "some queries with some keys")


def higher_means_closer(case: Case) -> None:
    """A key close to the query scores higher than a random one."""
    score, query, key = _score(case)
    if any(weight.requires_grad for weight in score.parameters()):
        raise Skips("it has to learn first what is close")
    near = query + 0.05 * torch.randn_like(query)
    paired, others = score(query, near).diagonal(), score(query, key)
    share = float((paired.unsqueeze(1) > others).double().mean())
    expect(share > 0.9, f"a near key scores higher than a far one in {share:.0%} of cases; a distance is its negative")


def factors_give_the_score(case: Case) -> None:
    """If it has `factors`, they are computed row by row, and their product is the score."""
    score, query, key = _score(case)
    if not isinstance(score, FactorisedScore):
        raise Skips("it has no factors")
    left, right = score.factors(query, key)
    same_numbers(product(left, right), score(query, key), "the product of its factors")
    same_numbers(score.factors(query[2:4], key[:0])[0], left[2:4], "the factor of two queries without keys")
    same_numbers(score.factors(query[:0], key[2:4])[1], right[2:4], "the factor of two keys without queries")


def symmetric_as_it_says(case: Case) -> None:
    """If it has `symmetric`, queries and keys can be exchanged."""
    score, query, key = _score(case)
    if not getattr(score, "symmetric", False):
        raise Skips("it is not `symmetric`")
    same_numbers(score(key, query).T, score(query, key), "with queries and keys exchanged")


def no_rows(case: Case) -> None:
    """Without queries or keys, it returns no scores."""
    score, query, key = _score(case)
    for queries, keys in ((query[:0], key), (query, key[:0])):
        found = score(queries, keys).shape
        expect(found == (len(queries), len(keys)), f"{len(queries)} queries and {len(keys)} keys give {list(found)}")


def works_in_bfloat16(case: Case) -> None:
    """For embeddings in bfloat16, a contrast with it and its gradient are finite, and close to those in float32."""
    from ...parts.losses.info_nce import InfoNCE

    plain, found = (of_a_contrast(InfoNCE(), built(case), dtype) for dtype in (torch.float32, torch.bfloat16))
    finite(found, "of embeddings in bfloat16, the loss or its gradient")
    same_numbers(found[0], plain[0], "the loss of embeddings in bfloat16", rtol=0.1, atol=0.1)


def _score(case: Case) -> tuple[nn.Module, Tensor, Tensor]:
    score, (query, key) = in_double(case)
    return score, query, key
