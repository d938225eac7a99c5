"""Sound: recordings that are opened, checked and read, and spoken digits that are made.

Nothing here calculates in floating point: kernels, soxr and whole numbers do.
"""
