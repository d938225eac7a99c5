"""Ranks: who they are (`world`), what they add in which order (`tree`), and how (`reduce`).

MPI moves bytes here and never adds a float. Only `world` imports mpi4py, and importing
any of these modules starts nothing.
"""
