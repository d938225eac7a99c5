"""Ranks: who they are (`world`), what they add in which order (`tree`), and how (`reduce`).

`reduce` cuts the vector (`bucket`), has each rank's steps planned (`plan`) and done (`exchange`).

MPI moves bytes here and never adds a float. Only `world` imports mpi4py, and importing
any of these modules starts nothing.
"""
