"""A download as it lies there -> the settings that read it, each with its reason."""
