"""Packed downloads, lying open without a byte written into them."""
