"""A dataset with planted errors and a small model, so that a first audit needs neither data nor a network."""

from gradattn_core.demo.digits import write_digits
from gradattn_core.demo.model import GLYPH_VIT, GLYPH_VIT_WEIGHTS, create_glyph_vit

__all__ = ["GLYPH_VIT", "GLYPH_VIT_WEIGHTS", "create_glyph_vit", "write_digits"]
