"""The page of a run: what its images, labels, folds, models and predictions are like, in one file without scripts from
elsewhere.
"""
