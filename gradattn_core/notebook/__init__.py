"""The audit as a function: what a notebook or a program calls, and what it gets back."""
