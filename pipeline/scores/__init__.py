"""What a run's predictions are worth, and what is said of it."""
