"""The corrected dataset: as a new tree, or in place with a journal that takes everything back.

corrections ─► tree | in_place (moves, manifest), which writes a journal and undoes what it says
"""
