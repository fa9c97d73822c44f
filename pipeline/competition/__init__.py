"""What the competition is: tables, labels, folds, metric, submission (pandas and scikit-learn, never torch)."""
