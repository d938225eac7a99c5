"""Utterances of a minibatch: read, augmented, packed, read ahead, brought to their place."""
