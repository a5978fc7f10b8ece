"""The keywords of ssh_config(5), all of them, and for each what we do about it and why.

What may live here: three lists. What is *followed* becomes a field of ``Settings``. What goes *beyond* us
makes a difference to where we go, whom we trust or how we are let in, and only OpenSSH's client does it:
that is used then, or the run is refused where there is none. The rest is *harmless*: it may be dropped.
"""

from __future__ import annotations

import os

from msgspec import Struct

FOLLOWED = (
    *("HostName", "User", "Port", "ProxyJump", "ProxyCommand", "ConnectTimeout"),
    *("IdentityFile", "CertificateFile", "IdentitiesOnly", "IdentityAgent"),
    *("HostKeyAlias", "UserKnownHostsFile", "GlobalKnownHostsFile"),
    *("StrictHostKeyChecking", "HashKnownHosts"),
)


class Beyond(Struct, frozen=True):
    """What we can't do ourselves."""

    spelled: str
    usual: tuple[str, ...]  # values that say nothing new, in small letters
    reason: str  # what it decides

    @property
    def may_be_missed(self) -> bool:
        """Whether nobody is reached or trusted for want of it who should not be."""
        return self.reason in (_CRYPTO, _PROOF)


_WAY = "it decides by what way the host is reached"
_CRYPTO = "it decides what a connection may be encrypted or proved with"
_TRUST = "it decides whether the host is trusted"
_PROOF = "it decides how we are let in"

BEYOND = (
    Beyond("AddressFamily", ("any",), _WAY),
    Beyond("BindAddress", (), _WAY),
    Beyond("BindInterface", (), _WAY),
    Beyond("CanonicalizeHostname", ("no", "false"), "it decides which host is meant"),
    Beyond("RefuseConnection", (), "it forbids to connect"),
    Beyond("Ciphers", (), _CRYPTO),
    Beyond("MACs", (), _CRYPTO),
    Beyond("KexAlgorithms", (), _CRYPTO),
    Beyond("HostKeyAlgorithms", (), _CRYPTO),
    Beyond("PubkeyAcceptedAlgorithms", (), _CRYPTO),
    Beyond("RequiredRSASize", (), _CRYPTO),
    Beyond("CheckHostIP", ("no", "false"), _TRUST),
    Beyond("KnownHostsCommand", ("none",), _TRUST),
    Beyond("RevokedHostKeys", ("none",), _TRUST),
    Beyond("VerifyHostKeyDNS", ("no", "false"), _TRUST),
    Beyond("GSSAPIAuthentication", ("no", "false"), _PROOF),
    Beyond("HostbasedAuthentication", ("no", "false"), _PROOF),
    Beyond("KbdInteractiveAuthentication", ("yes", "true"), _PROOF),
    Beyond("KbdInteractiveDevices", (), _PROOF),
    Beyond("PasswordAuthentication", ("yes", "true"), _PROOF),
    Beyond("PKCS11Provider", ("none",), _PROOF),
    Beyond("PreferredAuthentications", (), _PROOF),
    Beyond("PubkeyAuthentication", ("yes", "true", "unbound", "host-bound"), _PROOF),
    Beyond("SecurityKeyProvider", ("internal", "none"), _PROOF),
)

_FORWARDING = "nothing is forwarded here, as by sftp(1)"
_SHELL = "there is no shell or command here, as with sftp(1)"
_OURS = "we have our own way of that"
_WITH = "it only shapes another keyword, which counts"
_OLD = "OpenSSH knows it no longer, and drops it too"

HARMLESS = {
    "AddKeysToAgent": "a key that we read ourselves is given to no agent: not asked for here",
    "BatchMode": "questions are asked on a terminal only",
    "CanonicalDomains": _WITH,
    "CanonicalizeFallbackLocal": _WITH,
    "CanonicalizeMaxDots": _WITH,
    "CanonicalizePermittedCNAMEs": _WITH,
    "CASignatureAlgorithms": "certificates of hosts are honoured by OpenSSH's client alone",
    "ChannelTimeout": "our channels are never idle while a run goes on",
    "ClearAllForwardings": _FORWARDING,
    "Compression": "it changes speed only, and --compress asks for it",
    "ConnectionAttempts": f"{_OURS} (--retries)",
    "ControlMaster": "a connection of our own is made",
    "ControlPath": "a connection of our own is made",
    "ControlPersist": "a connection of our own is made",
    "DynamicForward": _FORWARDING,
    "EnableEscapeCommandline": _SHELL,
    "EnableSSHKeysign": _WITH,
    "EscapeChar": _SHELL,
    "ExitOnForwardFailure": _FORWARDING,
    "FingerprintHash": "how a fingerprint is shown",
    "ForkAfterAuthentication": _SHELL,
    "ForwardAgent": _FORWARDING,
    "ForwardX11": _FORWARDING,
    "ForwardX11Timeout": _FORWARDING,
    "ForwardX11Trusted": _FORWARDING,
    "GatewayPorts": _FORWARDING,
    "GSSAPIClientIdentity": _WITH,
    "GSSAPIDelegateCredentials": _WITH,
    "GSSAPIKexAlgorithms": _WITH,
    "GSSAPIKeyExchange": _WITH,
    "GSSAPIRenewalForcesRekey": _WITH,
    "GSSAPIServerIdentity": _WITH,
    "GSSAPITrustDns": _WITH,
    "HostbasedAcceptedAlgorithms": _WITH,
    "IgnoreUnknown": "the reader itself heeds it",
    "IPQoS": "a mark for routers",
    "LocalCommand": "nothing is run here, as by sftp(1)",
    "LocalForward": _FORWARDING,
    "LogLevel": "how much is said",
    "LogVerbose": "how much is said",
    "NoHostAuthenticationForLocalhost": "the host's key is checked here in any case",
    "NumberOfPasswordPrompts": _OURS,
    "ObscureKeystrokeTiming": _SHELL,
    "PermitLocalCommand": "nothing is run here, as by sftp(1)",
    "PermitRemoteOpen": _FORWARDING,
    "ProxyUseFdpass": _WITH,
    "RekeyLimit": "keys are renewed anyway",
    "RemoteCommand": _SHELL,
    "RemoteForward": _FORWARDING,
    "RequestTTY": _SHELL,
    "SendEnv": "SFTP heeds no variables",
    "ServerAliveCountMax": f"{_OURS} (--timeout)",
    "ServerAliveInterval": f"{_OURS} (--timeout)",
    "SessionType": _SHELL,
    "SetEnv": "SFTP heeds no variables",
    "StdinNull": _SHELL,
    "StreamLocalBindMask": _FORWARDING,
    "StreamLocalBindUnlink": _FORWARDING,
    "SyslogFacility": "how much is said, and where",
    "Tag": "only a Match asks for it, and that is judged",
    "TCPKeepAlive": _OURS,
    "Tunnel": _FORWARDING,
    "TunnelDevice": _FORWARDING,
    "UpdateHostKeys": "no key is added but by asking for it",
    "UseKeychain": "macOS; a key that is encrypted is asked for, or taken from the agent",
    "VersionAddendum": "what we call ourselves",
    "VisualHostKey": "how a fingerprint is shown",
    "WarnWeakCrypto": "how much is said",
    "XAuthLocation": _FORWARDING,
    **dict.fromkeys(
        (
            *("AFSTokenPassing", "Cipher", "CompressionLevel", "DSAAuthentication", "FallBackToRsh"),
            *(
                "GlobalKnownHostsFile2",
                "KeepAlive",
                "KerberosAuthentication",
                "KerberosTGTPassing",
                "Protocol",
            ),
            *("RhostsAuthentication", "RhostsRSAAuthentication", "RSAAuthentication", "UseBlacklistedKeys"),
            *("UsePrivilegedPort", "UserKnownHostsFile2", "UseRoaming", "UseRsh"),
        ),
        _OLD,
    ),
}

_OTHER_NAMES = {  # which the same things have, or had
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "hostbasedkeytypes": "hostbasedacceptedalgorithms",
    "identityfile2": "identityfile",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "skeyauthentication": "kbdinteractiveauthentication",
    "smartcarddevice": "pkcs11provider",
    "tisauthentication": "kbdinteractiveauthentication",
}
_FOLLOWED = {name.lower(): name for name in FOLLOWED}
_BEYOND = {each.spelled.lower(): each for each in BEYOND}
_HARMLESS = {name.lower(): name for name in HARMLESS}


def plain(keyword: str) -> str:
    """The one name of a keyword in small letters, however it is spelled."""
    name = keyword.lower()
    return _OTHER_NAMES.get(name, name)


def spelled(name: str) -> str:
    """A keyword as the manual spells it."""
    beyond = _BEYOND.get(name)
    return beyond.spelled if beyond is not None else _FOLLOWED.get(name) or _HARMLESS.get(name) or name


def is_followed(name: str) -> bool:
    """Whether it becomes a setting of ours. All names from here on are plain ones."""
    return name in _FOLLOWED


def is_harmless(name: str) -> bool:
    """Whether it may be dropped. GSSAPI, which Debian turns on for all, is where there is no ticket."""
    return name in _HARMLESS or (name == "gssapiauthentication" and not _may_have_ticket())


def _may_have_ticket() -> bool:
    """Whether this user may have one of Kerberos: kerberos(7)."""
    return "KRB5CCNAME" in os.environ or os.path.exists(f"/tmp/krb5cc_{os.getuid()}")  # noqa: S108 - by that name


def beyond(name: str) -> Beyond | None:
    """What it decides, if it goes beyond us."""
    return _BEYOND.get(name)
