"""The corrected dataset: as a new tree, or in place with a journal that takes everything back."""
