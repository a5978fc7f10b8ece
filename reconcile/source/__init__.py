"""Where content comes from: the local tree, scanned and read without following a link by accident."""
