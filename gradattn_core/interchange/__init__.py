"""Suspects and decisions in the formats of the tools that people label in, and back."""
