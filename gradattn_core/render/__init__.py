"""Signed maps to pictures: overlays, colour bars, evidence figures, figures of several maps, and contact sheets."""
