"""PyPI's sftpserver, which is paramiko's stub server. Arguments: port, host key, who may come in, folder."""

import socket
import sys
import threading

import paramiko
from sftpserver.stub_sftp import StubServer, StubSFTPServer

port, host_key, _, folder = sys.argv[1:5]
StubSFTPServer.ROOT = folder
key = paramiko.Ed25519Key.from_private_key_file(host_key)
listener = socket.create_server(("127.0.0.1", int(port)))
kept = []
while True:
    sock, _ = listener.accept()
    transport = paramiko.Transport(sock)
    transport.add_server_key(key)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, StubSFTPServer)
    kept.append(transport)
    transport.start_server(event=threading.Event(), server=StubServer())  # it lets everybody in
