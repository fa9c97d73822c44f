"""What a competition gives and asks for: tables, archives, folds, answers. Never torch."""
