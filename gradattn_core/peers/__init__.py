"""Other explanation methods of Vision Transformers, on the same footing as ours."""
