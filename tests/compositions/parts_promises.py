"""What every composition promises, whatever it is made of."""

from __future__ import annotations

import torch

import crl_core as crl
from crl_core.spec.assembly import assemble, describe
from crl_core.spec.spec import plain


def has_a_spec(pipeline: crl.Pipeline) -> crl.Pipeline:
    """The pipeline that its spec describes, after the spec has been data and back."""
    data = plain(describe(pipeline))
    again = assemble(data)
    assert plain(describe(again)) == data
    assert {type(part) for part in again.modules()} == {type(part) for part in pipeline.modules()}
    return again


def keeps_its_state(pipeline: crl.Pipeline, fresh: crl.Pipeline, batch: crl.View) -> None:
    """Another pipeline with its state gives the same loss, and the same again after a step."""
    fresh.load_state_dict(pipeline.state_dict())
    fresh.train(pipeline.training)
    for _ in range(2):
        found = []
        for each in (pipeline, fresh):
            torch.manual_seed(7)
            found.append(each.loss(batch).total.detach())
            each.on_step()
        assert torch.equal(*found)
