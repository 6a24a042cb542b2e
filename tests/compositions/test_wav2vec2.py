"""wav2vec 2.0 (Baevski et al. 2020): a masked context picks the right quantised frame of its own utterance."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from compositions.structure import slices, train, wheel
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn

import crl_core as crl

PHONES, FRAMES, HOP, DISTRACTORS, CODES = 6, 30, 8, 10, 16
SHAPES = torch.randn(PHONES, HOP, generator=torch.Generator().manual_seed(0))


def utterances(count: int) -> tuple[crl.View, Tensor]:
    """Waveforms `[N, FRAMES · HOP]`: phones of two frames, loud or soft, either way up; and the phones."""
    phone = wheel(count, FRAMES // 2, PHONES).repeat_interleave(2, dim=1)
    loud = torch.empty(count, FRAMES, 1).uniform_(0.5, 2.0) * torch.randn(count, FRAMES, 1).sign()
    waves = SHAPES[phone] * loud + 0.3 * torch.randn(count, FRAMES, HOP)
    return crl.View(waves.flatten(1), {"instance": torch.arange(count)}), phone


class Masked:
    """The audio, and which frames are hidden from the context: spans, and about half of all."""

    views = ("audio", "mask")

    def __call__(self, batch: crl.View) -> dict[str, crl.View]:
        starts = torch.rand(len(batch.data), FRAMES) < 0.2
        mask = F.max_pool1d(starts.float(), 3, stride=1, padding=1).bool()
        # Only masked frames are asked for, and only they distract.
        return {
            "audio": crl.View(batch.data, {**batch.meta, "valid": mask}),
            "mask": crl.View(mask, {**batch.meta, "valid": mask}),
        }

    def clean(self, batch: crl.View) -> crl.View:
        return batch


class Frames(nn.Module):
    """Strided convolutions: `[N, samples]` to `[N, T, 32]`."""

    def __init__(self) -> None:
        super().__init__()
        wide, deep = nn.Conv1d(1, 64, HOP, HOP), nn.Conv1d(64, 64, 1)
        self.layers = nn.Sequential(wide, nn.GELU(), deep, nn.GELU(), nn.Conv1d(64, 32, 1))
        self.norm = nn.LayerNorm(32)
        self.calls = 0

    def forward(self, audio: Tensor) -> Tensor:
        self.calls += 1
        frames: Tensor = self.norm(self.layers(audio.unsqueeze(1)).mT)
        return frames


class Context(nn.Module):
    """Hidden frames are replaced by one learned vector; then a Transformer over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.rand(32))
        self.place = nn.Conv1d(32, 32, 9, padding=4, groups=4)  # where a frame is, by what is around it
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.mix = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(32, 16)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        seen = torch.where(features["mask"].unsqueeze(-1), self.hidden, features["audio"])
        z: Tensor = self.out(self.mix(seen + F.gelu(self.place(seen.mT)).mT))
        return z


class Quantiser(nn.Module):
    """One of CODES vectors for each frame, chosen through a Gumbel softmax whose temperature falls with the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.choice = nn.Linear(32, CODES)
        nn.init.normal_(self.choice.weight)  # decided from the start: among even choices the noise would choose
        self.book = nn.Parameter(torch.randn(CODES, 16))
        self.temperature = 2.0

    def on_step(self, progress: crl.Progress) -> None:
        self.temperature = max(0.5, 2.0 * 0.995**progress.step)

    def forward(self, frames: Tensor) -> crl.Embeddings:
        logits = self.choice(frames)
        if self.training:
            one = F.gumbel_softmax(logits, self.temperature, hard=True)
        else:
            one = F.one_hot(logits.argmax(-1), CODES).float()
        features = {"probabilities": logits.softmax(-1), "code": logits.argmax(-1)}
        return crl.Embeddings(one @ self.book, features=features)


class Diversity(nn.Module):
    """(V - perplexity of the mean choice) / V: 0 when all codes are used alike (equation 4)."""

    takes = "embeddings"

    def forward(self, table: crl.Embeddings) -> Tensor:
        mean = table.features["probabilities"].flatten(0, 1).mean(0)
        return 1 - torch.special.entr(mean).sum().exp() / CODES


def wav2vec2() -> crl.Pipeline:
    frames = Frames()
    return crl.Pipeline(
        Masked,
        branches={
            "context": crl.Branch(("audio", "mask"), encoder={"audio": frames, "mask": nn.Identity()}, head=Context()),
            "target": crl.Branch("audio", encoder=frames, head=Quantiser()),
        },
        contrasts=[
            crl.Contrast(
                "context", "target", score=crl.Cosine(0.1), loss=crl.InfoNCE(), keys=crl.Drawn(DISTRACTORS),
                positive=crl.same("instance") & crl.same("position"),
                negative=crl.same("instance") & ~crl.same("position"),
            )
        ],
        penalties=[crl.Penalty("target", Diversity(), weight=1.0, name="diversity")],
    )  # fmt: skip


def codes_of(pipeline: crl.Pipeline, batch: crl.View) -> Tensor:
    pipeline.eval()
    with torch.no_grad():
        return pipeline.embed(pipeline.sampler(batch))["target"].features["code"]


def told_apart(pipeline: crl.Pipeline) -> float:
    batch, phone = utterances(100)
    return float(normalized_mutual_info_score(phone.flatten(), codes_of(pipeline, batch).flatten()))


def test_the_codes_tell_phones_apart() -> None:
    """Chance .01, untrained .26 to .33, trained .75 to .80 over 4 seeds."""
    batch, phone = utterances(600)
    pipeline = wav2vec2().build(batch)
    quantiser = pipeline.branches["target"].head
    assert isinstance(quantiser, Quantiser)
    chance = normalized_mutual_info_score(phone[:100].flatten(), torch.randint(0, CODES, (100 * FRAMES,)))
    untrained = told_apart(pipeline)
    start = float(pipeline.train().loss(batch).terms["context-target"])
    assert start > math.log(DISTRACTORS + 1) - 0.2, "a guess at first, and a confident one: noise at temperature 0.1"
    losses = train(pipeline, slices(batch, 32), steps=300)
    trained = told_apart(pipeline)
    used = codes_of(pipeline, batch).flatten().bincount(minlength=CODES).float()
    perplexity = float(torch.special.entr(used / used.sum()).sum().exp())
    assert chance < 0.02
    assert untrained < 0.45
    assert trained > 0.6, (untrained, trained, perplexity)
    assert perplexity > 4, "the codebook has not collapsed"
    assert sum(losses[-20:]) / 20 < 0.8 * losses[0]
    assert quantiser.temperature == 0.5, "it has fallen to its end"


def test_queries_and_distractors_are_masked_frames_of_one_utterance() -> None:
    batch, _ = utterances(8)
    pipeline = wav2vec2().build(batch)
    views = pipeline.sampler(batch)
    table = pipeline.embed(views)
    pairs = pipeline.contrasts[0].pairs(table)
    assert pairs is not None
    hidden = views["mask"].data
    assert 0.3 < float(hidden.float().mean()) < 0.6
    assert pairs.shape == (int(hidden.sum()), DISTRACTORS + 1)
    clip, position = pairs.key_meta["instance"], pairs.key_meta["position"]
    assert bool((clip == pairs.query.meta["instance"]).all())
    assert bool(hidden[clip, position].all())
    assert bool((position[:, 0] == pairs.query.meta["position"][:, 0]).all())
    assert bool((position[:, 1:] != pairs.query.meta["position"]).all())


def test_the_shared_encoder_runs_once_and_the_context_does_not_see_what_is_hidden() -> None:
    batch, _ = utterances(4)
    pipeline = wav2vec2().build(batch).eval()
    frames = pipeline.branches["target"].encoder
    assert isinstance(frames, Frames)
    views = pipeline.sampler(batch)
    before = frames.calls
    with torch.no_grad():
        first = pipeline.embed(views)["context"].z
        assert frames.calls == before + 1
        hidden = views["mask"].data.repeat_interleave(HOP, dim=1)
        views["audio"].data[hidden] = 0.0
        second = pipeline.embed(views)["context"].z
    torch.testing.assert_close(first, second)


def test_diversity_is_0_for_even_use_and_nearly_1_for_a_single_code() -> None:
    def of(probabilities: Tensor) -> float:
        return float(Diversity()(crl.Embeddings(torch.zeros(1), features={"probabilities": probabilities})))

    assert abs(of(torch.full((2, 3, CODES), 1 / CODES))) < 1e-6
    assert abs(of(F.one_hot(torch.zeros(2, 3, dtype=torch.int64), CODES).float()) - (1 - 1 / CODES)) < 1e-6
