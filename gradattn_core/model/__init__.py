"""The model room: a timm Vision Transformer, its preprocessing, its classes and its heads."""
