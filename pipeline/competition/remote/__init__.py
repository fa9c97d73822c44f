"""Competitions that lie elsewhere, copied once into a folder here."""
