"""Datasets as records, and one image as upright RGB pixels."""

from typing import TYPE_CHECKING

from gradattn_core.face import lazily

if TYPE_CHECKING:
    from gradattn_core.dataset.decoding import read_image as read_image

__all__ = ["read_image"]
__getattr__ = lazily(__name__, {"read_image": "gradattn_core.dataset.decoding"})
