"""Signed maps: which parts of a picture speak for one class and which for another."""

from gradattn_core.interpret.detail import Detail, detail
from gradattn_core.interpret.guide import Guided, guide
from gradattn_core.interpret.joining import FITS, SIDES
from gradattn_core.interpret.maps import OBJECTIVES, Interpretation, Provenance, interpret
from gradattn_core.interpret.rewrite import Rewrite, rewrite
from gradattn_core.interpret.transfer import Transfer, transfer

__all__ = [
    "FITS",
    "OBJECTIVES",
    "SIDES",
    "Detail",
    "Guided",
    "Interpretation",
    "Provenance",
    "Rewrite",
    "Transfer",
    "detail",
    "guide",
    "interpret",
    "rewrite",
    "transfer",
]
