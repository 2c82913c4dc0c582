"""A dataset with planted errors and a small model, so that a first audit needs neither data nor a network."""
