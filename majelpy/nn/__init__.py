"""Layers with forward and backward, and the model."""
