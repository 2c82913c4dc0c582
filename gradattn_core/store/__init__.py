"""Audits, evidence and decisions in DuckDB: the only room that speaks SQL."""

from gradattn_core.store.database import DATABASE_NAME
from gradattn_core.store.decisions import DECISIONS
from gradattn_core.store.store import Store

__all__ = ["DATABASE_NAME", "DECISIONS", "Store"]
