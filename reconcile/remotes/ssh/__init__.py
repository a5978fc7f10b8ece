"""SSH: config, host keys, keys, authentication and transport, over paramiko. Knows nothing of SFTP."""
