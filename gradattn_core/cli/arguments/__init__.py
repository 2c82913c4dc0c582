"""Options of ``gradattn explain``."""
