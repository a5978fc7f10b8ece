"""SFTP version 3 over paramiko's SSH: codec, pipelining, recipes; and a server to try things on."""
