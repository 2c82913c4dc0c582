"""Signed maps: which parts of a picture speak for one class and which for another."""

from typing import TYPE_CHECKING

from gradattn_core.face import lazily

if TYPE_CHECKING:
    from gradattn_core.interpret.explanation import explain_image as explain_image
    from gradattn_core.interpret.maps import interpret as interpret
    from gradattn_core.interpret.maps import interpret_images as interpret_images

_MAPS = "gradattn_core.interpret.maps"

__all__ = ["explain_image", "interpret", "interpret_images"]
__getattr__ = lazily(
    __name__,
    {"explain_image": "gradattn_core.interpret.explanation", "interpret": _MAPS, "interpret_images": _MAPS},
)
