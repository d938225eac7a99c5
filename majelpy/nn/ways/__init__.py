"""Ways in which several ranks compute one model together (docs/parallelism.md)."""
