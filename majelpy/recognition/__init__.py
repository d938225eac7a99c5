"""What is done with a model: utterances evaluated, recordings recognised, a search tuned."""
