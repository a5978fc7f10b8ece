"""OpenSSH's own client as the way to a server: a process below us, with its ends in our hands."""
