"""From scores to text: best path, prefix beam search, n-gram language models, error rates."""
