"""What is left of a ranking when the model was trained on the very labels it judges, wrong ones included.

    python bench/in_sample.py ROOT --truth FILE --checkpoint FILE [--model NAME] [--images 1200] [--epochs 3 6 12]

ROOT is a class folder, FILE a CSV with ``path``, ``given_label`` and ``true_label``. The model is fine-tuned on the
given labels of a random part at 96 pixels, once for each number of epochs, and then asked about the same images.
Average precision of: what its head says alone; the ranking with head and all features; that without the head; that
from the shallowest features alone. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from gradattn_core.config import FineTuning, ModelSpec
from gradattn_core.dataset.decoding import read_image
from gradattn_core.model.backbone import load_model
from gradattn_core.model.forward import forward
from gradattn_core.model.preprocessing import preprocessed
from gradattn_core.model.training import finetune
from gradattn_core.ranking.arrays import log_softmax
from gradattn_core.ranking.formulas import self_confidence
from gradattn_core.ranking.suspicion import knows_by_heart, rank_labels

SIDE = 96
BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description="Rank with a model that was trained on the labels")
    parser.add_argument("root", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--model", default="vit_tiny_patch16_224")
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--epochs", type=int, nargs="*", default=[3, 6, 12])
    arguments = parser.parse_args()
    truth = pd.read_csv(arguments.truth).sample(arguments.images, random_state=0)
    names = sorted(truth["given_label"].unique())
    given = truth["given_label"].map(names.index).to_numpy()
    wrong = (truth["given_label"] != truth["true_label"]).to_numpy()
    spec = ModelSpec(arguments.model, arguments.checkpoint)
    pixels = read_pixels(spec, [arguments.root / path for path in truth["path"]])
    print(f"{wrong.sum()} of {len(wrong)} labels are wrong.\n")
    print("| epochs | agrees | names of the wrong | found out | head | all | without head | shallowest |")
    print("|---:|---:|---:|---|---:|---:|---:|---:|")
    for epochs in [0, *arguments.epochs]:
        print(row(train(spec, pixels, given, epochs), pixels, given, wrong, epochs), flush=True)


def row(model: nn.Module, pixels: Tensor, given: NDArray[np.int64], wrong: NDArray[np.bool_], epochs: int) -> str:
    """One line of the table: what the model, trained for so many epochs, is worth to the ranking."""
    parts = [forward(model, pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    logits = torch.cat([part.logits for part in parts]).numpy()
    features = torch.cat([part.features for part in parts]).numpy()
    shallow = features[:, : 2 * parts[0].readout.shape[1]]
    agrees = logits.argmax(axis=1) == given
    rankings = [rank_labels(given, *inputs)["suspicion"] for inputs in ((features, logits), (features,), (shallow,))]
    precisions = " | ".join(f"{average_precision_score(wrong, suspicion):.3f}" for suspicion in rankings)
    head = average_precision_score(wrong, self_confidence(log_softmax(logits), given))
    found_out = "yes" if knows_by_heart(given, logits.argmax(axis=1), shallow) else "no"
    return f"| {epochs} | {agrees.mean():.3f} | {agrees[wrong].mean():.3f} | {found_out} | {head:.3f} | {precisions} |"


def read_pixels(spec: ModelSpec, paths: Sequence[Path]) -> Tensor:
    """[N, 3, SIDE, SIDE], preprocessed as the model wants it."""
    return preprocessed(small_model(spec), [read_image(path).image for path in paths])


def small_model(spec: ModelSpec) -> nn.Module:
    """For pictures of ``SIDE`` pixels."""
    model = load_model(spec)
    model.set_input_size(img_size=SIDE)  # type: ignore[operator]
    return model


def train(spec: ModelSpec, pixels: Tensor, given: NDArray[np.int64], epochs: int) -> nn.Module:
    """The model in evaluation mode, fine-tuned on the given labels."""
    model = small_model(spec)
    model.reset_classifier(int(given.max()) + 1)  # type: ignore[operator]

    def load(rows: Sequence[int]) -> Tensor:
        return pixels[torch.as_tensor(rows)]

    if epochs:
        settings = FineTuning(epochs=epochs, learning_rate=3e-4, label_smoothing=0.0)
        finetune(model, load, torch.from_numpy(given.copy()), settings, seed=0)
    return model.eval()


if __name__ == "__main__":
    main()
