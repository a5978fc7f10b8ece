"""What we keep on disk between two runs. Everything is written atomically, 0600."""
