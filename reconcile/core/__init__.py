"""What there is and what is decided: every noun, and pure functions over them. No I/O, no clock."""
