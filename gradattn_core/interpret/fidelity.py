"""How much two 8-bit pictures differ: L∞, L2, PSNR and SSIM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from gradattn_core.errors import InterpretError

_PEAK = 255.0
_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far one picture is from another.

    Attributes:
        linf: the greatest change of any channel of any pixel, in 8-bit steps (0 to 255).
        l2: the root of the sum of all squared changes, in 8-bit steps.
        changed: the share of pixels of which any channel changed, in [0, 1].
        psnr: 10·log10(255² / mean squared change) in decibels; infinite for equal pictures.
        ssim: structural similarity in [-1, 1]; 1 for equal pictures.
    """

    linf: int
    l2: float
    changed: float
    psnr: float
    ssim: float


def fidelity(before: Pixels, after: Pixels) -> Fidelity:
    """Compare two pictures [height, width, channels] of 8 bits.

    SSIM is that of Wang, Bovik, Sheikh and Simoncelli (2004): a Gaussian window of 11 x 11 pixels (σ = 1.5), K1 = 0.01,
    K2 = 0.03, the mean over all windows that lie within the picture; here of each channel by itself, then the mean.

    Raises:
        InterpretError: other types or shapes, or a picture smaller than the window.
    """
    for name, pixels in (("before", before), ("after", after)):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape != before.shape:
            raise InterpretError(
                f"{name}: expected 8-bit pixels [height, width, channels] like the other's {list(before.shape)}, "
                f"got {pixels.dtype} {list(pixels.shape)}"
            )
    if min(before.shape[:2]) < 2 * _RADIUS + 1:
        raise InterpretError(f"before: {list(before.shape[:2])} pixels are fewer than the 11 x 11 window of SSIM")
    a, b = before.astype(np.float64), after.astype(np.float64)
    change = b - a
    mean_square = float((change**2).mean())
    return Fidelity(
        linf=int(np.abs(change).max()),
        l2=float(np.sqrt((change**2).sum())),
        changed=float((change != 0).any(axis=2).mean()),
        psnr=float(10 * np.log10(_PEAK**2 / mean_square)) if mean_square else float("inf"),
        ssim=float(np.mean([_ssim(a[..., channel], b[..., channel]) for channel in range(a.shape[2])])),
    )


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    def local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = slice(_RADIUS, -_RADIUS)
        smooth: NDArray[np.float64] = gaussian_filter(values, _SIGMA, radius=_RADIUS)[inside, inside]
        return smooth

    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a, variance_b = local_mean(a * a) - mean_a**2, local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    similar = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    return float((similar / ((mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2))).mean())
