"""Predicts the time and memory of a training on a cluster, from measured constants.

Policy. Predictions never enter a bit of a run, so ordinary float arithmetic serves here. What costs
what is written down in docs/plan.md; each module is one part of it, in functions without state.
"""
