"""A folder of this machine as DEST. Imports no network."""
