"""What runs the networks: the loop, the optimizer, the machine."""
