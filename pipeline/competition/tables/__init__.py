"""A competition's tables, in whatever form they come, and the images that their rows mean."""
