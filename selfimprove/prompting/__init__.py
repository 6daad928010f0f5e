"""How problems are shown to a model, and what its texts are looked through for."""
