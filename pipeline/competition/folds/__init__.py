"""Which images validate which model."""
