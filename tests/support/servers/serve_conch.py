"""Twisted Conch with the SFTP server of ``twistd conch``. Arguments: port, host key, who may come in."""

import os
import pwd
import sys

from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.ssh import factory, filetransfer, keys
from twisted.conch.unix import SFTPServerForUnixConchUser, UnixConchUser
from twisted.cred import portal
from twisted.internet import reactor
from twisted.python import components
from twisted.python.filepath import FilePath
from zope.interface import implementer

port, host_key, user_key = sys.argv[1:4]
user = pwd.getpwuid(os.getuid()).pw_name.encode()


class User(UnixConchUser):
    """As it is, but for what it calls and does not have in some versions."""

    def getHomeDir(self) -> FilePath:  # noqa: N802 - its name there
        """The login folder."""
        return FilePath(self.pwdData[5])


components.registerAdapter(SFTPServerForUnixConchUser, User, filetransfer.ISFTPServer)


@implementer(portal.IRealm)
class Realm:
    """Who comes in is a user of this machine."""

    def requestAvatar(self, name: bytes, _mind: object, *interfaces: object) -> object:  # noqa: N802
        """The user."""
        known = User(os.fsdecode(name))
        return interfaces[0], known, known.logout


doors = portal.Portal(Realm())
doors.registerChecker(SSHPublicKeyChecker(InMemorySSHKeyDB({user: [keys.Key.fromFile(user_key)]})))
serving = factory.SSHFactory()
serving.portal = doors
key = keys.Key.fromFile(host_key)
serving.privateKeys = {b"ssh-ed25519": key}
serving.publicKeys = {b"ssh-ed25519": key.public()}
serving.getPrimes = lambda: None
reactor.listenTCP(int(port), serving, interface="127.0.0.1")
reactor.run()
