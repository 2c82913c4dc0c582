"""Audits, evidence and decisions in DuckDB: the only room that speaks SQL."""

from gradattn_core.store.decisions import DECISIONS
from gradattn_core.store.store import DATABASE_NAME, Store

__all__ = ["DATABASE_NAME", "DECISIONS", "Store"]
