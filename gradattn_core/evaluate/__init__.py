"""How faithful maps are: what the model says while patches are masked in the order of a map."""
