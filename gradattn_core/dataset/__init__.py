"""Datasets as records, and one image as upright RGB pixels."""

from gradattn_core.dataset.address import absolute, is_plain_file
from gradattn_core.dataset.decoding import DecodedImage, content_hash, decode_image, read_image
from gradattn_core.dataset.listing import list_dataset
from gradattn_core.dataset.reading import read_address, read_bytes
from gradattn_core.dataset.secrets import remember, without_secrets

__all__ = [
    "DecodedImage",
    "absolute",
    "content_hash",
    "decode_image",
    "is_plain_file",
    "list_dataset",
    "read_address",
    "read_bytes",
    "read_image",
    "remember",
    "without_secrets",
]
