"""Signed maps: which parts of a picture speak for one class and which for another."""

from gradattn_core.interpret.maps import OBJECTIVES, Interpretation, Provenance, interpret

__all__ = ["OBJECTIVES", "Interpretation", "Provenance", "interpret"]
