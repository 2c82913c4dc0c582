"""Audits, evidence and decisions in DuckDB: the only room that speaks SQL."""
