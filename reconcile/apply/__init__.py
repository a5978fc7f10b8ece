"""A plan on its way to a remote: order, connections, and what became of a run that broke off."""
