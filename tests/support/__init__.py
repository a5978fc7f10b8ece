"""What tests stand on: trees from dicts, a real sshd, an SFTP shim, a TCP proxy."""
