"""Methods that ask the model about many masked copies of a picture: ViT-CX, TIS and KernelSHAP.

They see the model from outside but for the masks of the first two, which come from its own tokens. All take many
passes, ``chunk_size`` copies together; each picture has masks, noise and subsets of its own, drawn from its own seed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from sklearn.cluster import AgglomerativeClustering, KMeans
from torch import Tensor
from torch.nn import functional

from gradattn_core.interpret.absence import runs_on_fewer, tokens_dropped, without_patches
from gradattn_core.interpret.objective import check_finite
from gradattn_core.peers.cams import last_input_norm
from gradattn_core.peers.gradients import patch_pixels, peer_library
from gradattn_core.peers.question import Peer, Question

# Of ViT-CX: masks nearer than this (cosine distance) become one, and the noise behind a mask.
_DISTANCE, _NOISE = 0.1, 0.1
# Of TIS: how many masks, and the share of the tokens that each keeps.
_CENTROIDS, _KEPT = 1024, 0.5


def vit_cx(question: Question) -> Tensor:
    """ViT-CX (Xie et al., 2023): what the model's own features show, weighed by what showing it alone does.

    The channels of ``blocks[-1].norm1`` over the patches, enlarged to the picture and stretched to [0, 1], are
    clustered (cosine distance, complete linkage, 0.1); the sums of K clusters, stretched again, are masks m_k. With p
    the probability of the target and ε ~ 0.1·N(0, 1) on normalised pixels

        s_k = p(m_k x + (1 − m_k) ε) − p(x + (1 − m_k) ε) + p(x),   S = 1/K Σ_k s_k m_k / Σ_k m_k,

    averaged over each patch. 1 + 2 K passes forward, K of tens to hundreds; channels without contrast make no mask.
    Against the authors' code: batched, on any device, any readout; noise by a seed; the model is not copied. Holds the
    enlarged channels in memory, channels x pixels float32.

    Returns:
        [B, rows, columns] float32, mostly positive.

    Raises:
        InterpretError: the last block has no norm before its attention, or no channel has any contrast.
    """
    images = question.images.detach()
    with torch.no_grad():
        features, whole = _last_features(question)
        maps = []
        for number, generator in enumerate(question.generators()):
            one = question.take(torch.tensor([number], device=images.device))
            masks = _clustered_masks(features[number], images.shape[-2:], one)
            scores = []
            for part in masks.split(max(1, question.chunk_size // 2)):
                # One noise at a time, so that it does not depend on the size of the chunks.
                noise = torch.stack([torch.randn(images.shape[1:], generator=generator) for _ in part]).to(images)
                behind = (1 - part[:, None]) * (_NOISE * noise)
                shown = _probabilities(one, part[:, None] * images[number] + behind)
                scores.append(shown - _probabilities(one, images[number] + behind) + whole[number])
            weights = torch.cat(scores).to(masks)
            coverage = masks.sum(dim=0).clamp_min(torch.finfo(masks.dtype).tiny)
            maps.append((weights[:, None, None] * masks).mean(dim=0) / coverage)
        return patch_pixels(question.model, torch.stack(maps)[:, None]).mean(dim=(1, 4, 5))


def transformer_input_sampling(question: Question) -> Tensor:
    """TIS, Transformer Input Sampling (Englebert et al., 2023): groups of tokens by the model's own features.

    The values of each channel of each block's output over the patches are points in [patches]; k-means makes 1,024 of
    them (as many as there are points where fewer); each centroid keeps the half of the patches where it is greatest.
    With p_k the probability of the target from these patches alone, S = Σ_k p_k m_k / Σ_k m_k. 1 + 1,024 forward
    passes.

    Against the authors' code: in other models than timm's plain one tokens are left out of every softmax instead of the
    sequence, so that rotary and relative positions and all prefix tokens stay right (and a pass costs what a whole one
    costs); k-means by scikit-learn, one start, from a seed; a patch that no mask keeps gets the mean score; no
    stretching to [0, 1].

    Returns:
        [B, rows, columns] float32, in [0, 1].

    Raises:
        InterpretError: nothing can be left out in this model.
    """
    with torch.no_grad():
        features = _block_features(question)
        maps = []
        for number, seed in enumerate(question.seeds):
            kept = _sampled_tokens(features[number], seed)
            one = question.take(torch.tensor([number], device=kept.device))
            scores = _answers_without(one, ~kept, Question.probability).float()
            counts = kept.sum(dim=0)
            means = (scores @ kept.float()) / counts.clamp_min(1)
            maps.append(torch.where(counts > 0, means, scores.mean()))
        return torch.stack(maps).reshape(-1, *question.grid)


def kernel_shap(question: Question) -> Tensor:
    """KernelSHAP (Lundberg and Lee, 2017; captum's KernelShap) with the patches as players.

    A player that is absent is left out of every softmax, as in the measured effects of hiding, and not painted over. Of
    P patches 2 P + 2,048 subsets are asked (the number of the authors' package); captum draws sizes from the Shapley
    kernel and fits the plane, with 10⁶ times the weight on the whole and the empty picture, so that Σ S is
    f − f(no patches) to about a thousandth of it.

    Returns:
        [B, rows, columns] float32, signed, in log-odds (logits where one class is asked about).

    Raises:
        InterpretError: nothing can be left out in this model, or captum is not installed.
    """
    maps = []
    for number, seed in enumerate(question.seeds):
        one = question.take(torch.tensor([number], device=question.images.device))
        maps.append(shapley_plane(one, seed, 2 * question.patches + 2048))
    return torch.stack(maps).reshape(-1, *question.grid).to(question.images.device)


def shapley_plane(question: Question, seed: int, samples: int) -> Tensor:
    """Coefficients [patches] of the weighted plane for the one picture of a question."""
    captum = peer_library("captum.attr", "kernel-shap")

    def value(present: Tensor) -> Tensor:
        return _answers_without(question, present < 0.5, Question.value).cpu()

    # captum draws from the global generator.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        plane: Tensor = captum.KernelShap(value).attribute(
            torch.ones(1, question.patches, dtype=torch.float64),
            baselines=0.0,
            n_samples=samples,
            # All at once: those of one size share passes.
            perturbations_per_eval=samples,
            return_input_shape=False,
        )
    return plane.reshape(-1)


def _answers_without(question: Question, absent: Tensor, measure: Callable[[Question, Tensor], Tensor]) -> Tensor:
    """``measure`` of the answers to a question's one picture without the patches of each row of ``absent`` [n, P].

    Where the model runs on fewer tokens, rows that lose as many share its passes.
    """
    absent = absent.to(question.images.device)
    short = runs_on_fewer(question.model)
    counts = absent.sum(dim=1) if short else absent.new_zeros(len(absent), dtype=torch.long)
    found: list[tuple[Tensor, Tensor]] = []
    for count in counts.unique():
        for rows in (counts == count).nonzero()[:, 0].split(question.chunk_size):
            copies, gone = _copies(question, len(rows)), absent[rows]
            if short:
                with tokens_dropped(copies.model, gone):
                    logits = copies.answer(copies.images)
            else:
                logits = without_patches(copies.model, copies.images, gone.unflatten(1, question.grid), question.head)
                check_finite(logits)
            found.append((rows, measure(copies, logits)))
    order = torch.cat([rows for rows, _ in found])
    return torch.cat([answers for _, answers in found])[order.argsort()]


def _probabilities(question: Question, images: Tensor) -> Tensor:
    """Of the question's class in some pictures in the place of its one."""
    return _copies(question, len(images)).probability(question.answer(images.to(question.images.dtype)))


def _copies(question: Question, count: int) -> Question:
    return question.take(torch.zeros(count, dtype=torch.long, device=question.images.device))


def _last_features(question: Question) -> tuple[Tensor, Tensor]:
    """What enters the last attention, [B, D, patches] float32, and the probability of the question's class, [B]."""
    kept: list[Tensor] = []
    norm = last_input_norm(question, "vit-cx")
    hook = norm.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        probability = question.probability(question.answer(question.images.detach()))
    finally:
        hook.remove()
    return kept[0][:, -question.patches :].float().mT, probability


def _block_features(question: Question) -> Tensor:
    """What every block gives, one row for each block and channel: [B, blocks x D, patches] float32."""
    kept: list[Tensor] = []
    with ExitStack() as hooks:
        for block in question.blocks:
            hook = block.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
            hooks.callback(hook.remove)
        question.answer(question.images.detach())
    return torch.cat([tokens[:, -question.patches :].float().mT for tokens in kept], dim=1)


def _clustered_masks(channels: Tensor, size: torch.Size, question: Question) -> Tensor:
    """Masks [K, H, W] in [0, 1] of channels [D, patches]."""
    enlarged = functional.interpolate(
        channels.reshape(1, -1, *question.grid), size=tuple(size), mode="bilinear", align_corners=False
    )[0]
    masks = _stretched(enlarged.flatten(1))
    if len(masks) < 2:
        raise question.refuse("vit-cx", "has no two channels before its last attention that differ over the picture")
    unit = functional.normalize(masks, dim=1)
    distance = (1 - unit @ unit.T).clamp_min(0).fill_diagonal_(0).cpu().double().numpy()
    clusters = AgglomerativeClustering(
        n_clusters=None, distance_threshold=_DISTANCE, metric="precomputed", linkage="complete"
    ).fit(distance)
    labels = torch.from_numpy(clusters.labels_).to(masks.device)
    sums = masks.new_zeros(int(labels.max()) + 1, masks.shape[1]).index_add_(0, labels, masks)
    return _stretched(sums).reshape(-1, *size)


def _stretched(masks: Tensor) -> Tensor:
    """Each row [n, pixels] to [0, 1]; rows without contrast are left out."""
    low = masks.amin(dim=1, keepdim=True)
    span = masks.amax(dim=1, keepdim=True) - low
    # Enlarging a constant leaves rounding behind.
    seen = (span > 1e-5 * masks.abs().amax(dim=1, keepdim=True))[:, 0]
    return (masks[seen] - low[seen]) / span[seen]


def _sampled_tokens(points: Tensor, seed: int) -> Tensor:
    """Which patches each centroid of points [n, patches] keeps: bool [K, patches]."""
    count = min(_CENTROIDS, len(points))
    clusters = KMeans(count, n_init=1, random_state=seed).fit(points.cpu().numpy())
    centroids = torch.from_numpy(clusters.cluster_centers_).to(points.device)
    chosen = centroids.topk(max(1, round(points.shape[1] * _KEPT)), dim=1).indices
    return torch.zeros_like(centroids, dtype=torch.bool).scatter(1, chosen, True)


PEERS = (
    Peer(
        "vit-cx",
        "ViT-CX",
        "Xie et al. 2023, ViT-CX: Causal Explanation of Vision Transformers",
        vit_cx,
        passes=150,
        cost="1 + 2 K forward, K of tens to hundreds",
        explains="pair",
        notes="of probabilities; a pair by their difference, which is the difference of the maps",
    ),
    Peer(
        "tis",
        "TIS",
        "Englebert et al. 2023, Explaining through Transformer Input Sampling",
        transformer_input_sampling,
        passes=1 + _CENTROIDS,
        cost=f"1 + {_CENTROIDS:,} forward",
        explains="pair",
        notes="of probabilities; a pair by their difference, which is the difference of the maps",
    ),
    Peer(
        "kernel-shap",
        "KernelSHAP",
        "Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions",
        kernel_shap,
        passes=2 * 196 + 2048,
        cost="2 P + 2,048 forward of P patches",
        explains="pair",
        is_signed=True,
        notes="by captum; patches are left out, not painted over; its sum is f minus f without them to a thousandth",
    ),
)
