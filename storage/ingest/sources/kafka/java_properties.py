"""A configuration that was written for Java's client, in librdkafka's words.

People have one such file for all of their tools. What it says of the login and of TLS is carried over
or refused, never left out; what only says how Java's client works is left out.
"""

import re
from pathlib import Path

from storage.errors import SourceError

_JAAS = "sasl.jaas.config"
_WITH_PASSWORD = ("PlainLoginModule", "ScramLoginModule")
_OPTION = re.compile(r"""(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s;"']+))""")
_IDENTIFICATION = "ssl.endpoint.identification.algorithm"
_LEFT_OUT = (
    *("key.deserializer", "value.deserializer", "key.serializer", "value.serializer"),
    *("max.poll.records", "default.api.timeout.ms", "interceptor.classes"),
    *("ssl.protocol", "ssl.enabled.protocols", "ssl.truststore.type", "ssl.keystore.type"),
    *("ssl.truststore.password", "basic.auth.credentials.source"),
)
_OTHERWISE = {
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "ssl.truststore.certificates": "ssl.ca.pem",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
    "basic.auth.user.info": "schema.registry.basic.auth.user.info",
}
"""What is the same under another name."""
_BY_ITS_NAME = {".pem": "PEM", ".crt": "PEM", ".p12": "PKCS12", ".pfx": "PKCS12"}


def in_words_of_librdkafka(said: dict[str, str], path: Path) -> dict[str, str]:
    """The same settings; those that both clients know are as they were.

    Raises `SourceError` where one has no counterpart; `path` is where it was read.
    """
    found = {_OTHERWISE.get(k, k): v for k, v in said.items() if k not in _LEFT_OUT}
    if _JAAS in found:
        found |= _login(found.pop(_JAAS), path)
    if "ssl.truststore.location" in found:
        there = found.pop("ssl.truststore.location")
        if _kind(said, "truststore", there) != "PEM":
            raise SourceError(
                f"{path}: certificates are read as PEM, which {there} isn't; write them with keytool"
                " -exportcert -rfc, and name the file in ssl.ca.location."
            )
        found["ssl.ca.location"] = there
    if "ssl.keystore.location" in found:
        found |= _own_certificate(said, found.pop("ssl.keystore.location"), path)
    if found.get(_IDENTIFICATION) == "":
        found[_IDENTIFICATION] = "none"
    return found


def _login(said: str, path: Path) -> dict[str, str]:
    """The user's name and password in an entry of JAAS."""
    module = said.split(maxsplit=1)[0].rpartition(".")[2] if said.strip() else "nothing"
    if module not in _WITH_PASSWORD:
        raise SourceError(
            f"{path}: {_JAAS} names {module}; only a login with a name and a password is carried over"
            f" from there ({', '.join(_WITH_PASSWORD)}), others are written as librdkafka does."
        )
    options = {
        name: re.sub(r"\\(.)", r"\1", double or single) or bare
        for name, double, single, bare in _OPTION.findall(said)
    }
    lacks = [name for name in ("username", "password") if name not in options]
    if lacks:
        raise SourceError(f"{path}: {_JAAS} has no {lacks[0]}.")
    return {f"sasl.{name}": options[name] for name in ("username", "password")}


def _own_certificate(said: dict[str, str], there: str, path: Path) -> dict[str, str]:
    """What the client shows of itself."""
    kind = _kind(said, "keystore", there)
    if kind == "PKCS12":
        return {"ssl.keystore.location": there}
    if kind == "PEM":
        return {"ssl.certificate.location": there, "ssl.key.location": there}
    raise SourceError(
        f"{path}: the client's certificate is read as PEM or PKCS12, which {there} isn't; write it with"
        " keytool -importkeystore -deststoretype PKCS12, and say ssl.keystore.type=PKCS12."
    )


def _kind(said: dict[str, str], store: str, there: str) -> str:
    """What sort of file it is: as is said, or by its name; Java's own otherwise."""
    known = _BY_ITS_NAME.get(Path(there).suffix.lower(), "JKS")
    return said.get(f"ssl.{store}.type", known).upper()
