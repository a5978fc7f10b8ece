"""One file of each format version, for ever: what was written once must stay readable."""
