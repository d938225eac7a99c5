"""Ranks: who they are (`world`), and how they add what they have.

`gradients` is the one name that a trainer needs. Behind it `reduce` cuts the vector (`bucket`),
gets the steps of a rank (`schedule`) and has them done (`exchange`). Each kind of message has its
tag (`tags`).

MPI moves bytes here and never adds a float. Only `mpi` imports mpi4py, and importing any of these
modules starts nothing.
"""
