"""Datasets as records, and one image as upright RGB pixels."""

from gradattn_core.dataset.decoding import DecodedImage, content_hash, decode_image, read_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.dataset.reading import read_bytes

__all__ = ["DecodedImage", "content_hash", "decode_image", "list_dataset", "read_bytes", "read_image"]
