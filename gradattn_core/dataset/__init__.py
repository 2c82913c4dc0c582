"""Datasets on disk as records, and one image file as upright RGB pixels."""

from gradattn_core.dataset.decoding import DecodedImage, read_image
from gradattn_core.dataset.listing import list_dataset

__all__ = ["DecodedImage", "list_dataset", "read_image"]
