"""Signed maps: which parts of a picture speak for one class and which for another."""

from typing import TYPE_CHECKING

from gradattn_core.lazy import lazily

if TYPE_CHECKING:
    from gradattn_core.interpret.maps import interpret as interpret

__all__ = ["interpret"]
__getattr__ = lazily(__name__, {"interpret": "gradattn_core.interpret.maps"})
