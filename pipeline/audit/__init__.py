"""What speaks against the images, the labels and the folds, before a score is believed."""
