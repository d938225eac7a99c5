"""What lies in a run folder: recipe, ledger, checkpoints, and the trained model in them."""
