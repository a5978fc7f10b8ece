"""Push a folder to an SFTP server, and remember what was sent."""

__version__ = "0.1.0"
