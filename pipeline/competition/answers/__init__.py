"""From labels to probabilities to the submission: kinds, metrics, decisions, ensembling, the checked file."""
