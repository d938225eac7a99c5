"""Speech: from recordings and transcripts to a digested corpus, and from labels to text.

Nothing here calculates in floating point with NumPy on its way to features or
statistics; that arithmetic stands in the kernels' bodies (see `majelpy.speech.features`).
"""
