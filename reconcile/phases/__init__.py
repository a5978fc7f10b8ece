"""The phases of a run, each a function of what it holds open (``held``): look, load, decide, carry out."""
