"""What is worth knowing of the data before training: versions of one image, what the folds hold and split."""
