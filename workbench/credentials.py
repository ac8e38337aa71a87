"""What of a person's files looks like a credential, and so goes into no record: it may be read by many."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_NAMES = re.compile(
    r"""
    \.env(\..+|rc)?|.+\.env|\.?(netrc|pgpass|pypirc|npmrc|htpasswd|git-credentials|boto|s3cfg|dockercfg|my\.cnf)
    |.+\.(pem|key|p12|pfx|pkcs12|jks|keystore|ppk|kdbx|asc|gpg|ovpn|tfvars|tfstate)
    |id_(rsa|dsa|ecdsa|ed25519)(_sk)?([._-].*)?|kubeconfig|kaggle\.json|service[-_]?account.*|.*htpasswd.*
    |.*key.*\.json|(.*[^a-z])?(api[-_]?)?(keys?|tokens?|secrets?|passwords?|passwd|credentials?)([^a-z].*)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BY_CONTENT = (
    ".py",
    ".pyi",
    ".pyx",
    ".ipynb",
    ".md",
    ".rst",
    ".c",
    ".cc",
    ".cpp",
    ".cu",
    ".h",
    ".sh",
    ".csv",
    ".tsv",
)
"""Whatever a source or a table is called, only what stands in it makes it a credential."""
_FOLDERS = {".ssh", ".aws", ".gnupg", ".kube", ".docker", ".azure", ".secrets", "secrets"}
_SECRET = (
    rb"(?:passw(?:or)?d|passphrase|secret|api_?key|access_?key|private_?key|(?:auth|access|api|bearer|refresh)_?token)"
    rb"(?:_?[a-z]+)*"
)
_CONTENT = re.compile(
    rb"""
    -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY
    |\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}|\bya29\.[\w-]{20}
    |\bgh[pousr]_\w{30}|\bgithub_pat_\w{20}|\bglpat-[\w-]{20}|\bhf_[A-Za-z0-9]{30}|\bnpm_[A-Za-z0-9]{30}
    |\bpypi-[\w-]{30}|\bsk-[\w-]{20}|\b[sr]k_live_\w{20}|\bxox[abeoprs]-[\w-]{10}|\bdapi[0-9a-f]{32}
    |\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10}
    |\w://[^\s/:@'"{}$<>]+:(?!(?:password|passwd|pass|secret|pw|x+|\*+)@)[^\s/@'"{}$<>]{3,}@
    |%b["']?\s*[:=]\s*["'](?!\$)(?:[^\s"'{}$<>]|\$(?![{(])){8,}["']
    |\bAccountKey=[\w+/]{20}
    """
    % _SECRET,
    re.VERBOSE | re.IGNORECASE,
)
_SETTING = re.compile(
    rb"^[ +-]?\s*(?:export\s+)?[\w.-]*%b\s*[:=]\s*(?!\$)(?:[^\s\"'{}()\[\]$<>]|\$(?![{(])){8,}\s*$" % _SECRET,
    re.MULTILINE | re.IGNORECASE,
)
"""As files of settings write it, without quotes; in a program that would be a name."""


def is_credential(path: str, content: bytes) -> bool:
    """Whether a file's name or content looks like a key, a token or a password.

    >>> is_credential("conf/.env", b""), is_credential("id_rsa", b""), is_credential("my-keys.json", b"")
    (True, True, True)
    >>> is_credential("tokens.py", b"tokens = split(text)"), is_credential("tokenizer.json", b"{}")
    (False, False)
    >>> is_credential("cell.py", b"WANDB_API_KEY = '0123456789abcdef'")
    True
    """
    place = PurePosixPath(path)
    is_named = place.suffix.lower() not in _BY_CONTENT and _NAMES.fullmatch(place.name)
    is_set = place.suffix.lower() not in (".py", ".ipynb") and _SETTING.search(content)
    return bool(is_named or _FOLDERS & set(place.parts[:-1]) or _CONTENT.search(content) or is_set)
