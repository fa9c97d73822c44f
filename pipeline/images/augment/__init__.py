"""What happens to training images: augmentation, the user's own pipeline, mixing."""
