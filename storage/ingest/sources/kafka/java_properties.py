"""A configuration that was written for Java's client, in librdkafka's words.

People have one such file for all of their tools. What it says of the login and of TLS is carried over
or refused, never left out; what only says how Java's client works is left out.
"""

import re
from pathlib import Path

from storage.errors import SourceError

_JAAS_SETTING = "sasl.jaas.config"
_WITH_PASSWORD = ("PlainLoginModule", "ScramLoginModule")
_OPTION = re.compile(r"""(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s;"']+))""")
_IDENTIFICATION_SETTING = "ssl.endpoint.identification.algorithm"
_IGNORED_SETTINGS = (
    *("key.deserializer", "value.deserializer", "key.serializer", "value.serializer"),
    *("max.poll.records", "default.api.timeout.ms", "interceptor.classes"),
    *("ssl.protocol", "ssl.enabled.protocols", "ssl.truststore.type", "ssl.keystore.type"),
    *("ssl.truststore.password", "basic.auth.credentials.source"),
)
_RENAMED_SETTINGS = {
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "ssl.truststore.certificates": "ssl.ca.pem",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
    "basic.auth.user.info": "schema.registry.basic.auth.user.info",
}
"""What is the same under another name."""
_TYPE_BY_SUFFIX = {".pem": "PEM", ".crt": "PEM", ".p12": "PKCS12", ".pfx": "PKCS12"}


def to_librdkafka_settings(java_settings: dict[str, str], path: Path) -> dict[str, str]:
    """The same settings; those that both clients know are as they were.

    Raises `SourceError` where one has no counterpart; `path` is where it was read.
    """
    settings = {
        _RENAMED_SETTINGS.get(k, k): v
        for k, v in java_settings.items()
        if k not in _IGNORED_SETTINGS
    }
    if _JAAS_SETTING in settings:
        settings |= _parse_jaas_login(settings.pop(_JAAS_SETTING), path)
    if "ssl.truststore.location" in settings:
        truststore_path = settings.pop("ssl.truststore.location")
        if _store_type(java_settings, "truststore", truststore_path) != "PEM":
            raise SourceError(
                f"{path}: certificates are read as PEM, which {truststore_path} isn't; write them with keytool"
                " -exportcert -rfc, and name the file in ssl.ca.location."
            )
        settings["ssl.ca.location"] = truststore_path
    if "ssl.keystore.location" in settings:
        settings |= _client_certificate_settings(
            java_settings, settings.pop("ssl.keystore.location"), path
        )
    if settings.get(_IDENTIFICATION_SETTING) == "":
        settings[_IDENTIFICATION_SETTING] = "none"
    return settings


def _parse_jaas_login(jaas_entry: str, path: Path) -> dict[str, str]:
    """The user's name and password in an entry of JAAS."""
    module = jaas_entry.split(maxsplit=1)[0].rpartition(".")[2] if jaas_entry.strip() else "nothing"
    if module not in _WITH_PASSWORD:
        raise SourceError(
            f"{path}: {_JAAS_SETTING} names {module}; only a login with a name and a password is carried over"
            f" from there ({', '.join(_WITH_PASSWORD)}), others are written as librdkafka does."
        )
    options = {
        name: re.sub(r"\\(.)", r"\1", double or single) or bare
        for name, double, single, bare in _OPTION.findall(jaas_entry)
    }
    lacks = [name for name in ("username", "password") if name not in options]
    if lacks:
        raise SourceError(f"{path}: {_JAAS_SETTING} has no {lacks[0]}.")
    return {f"sasl.{name}": options[name] for name in ("username", "password")}


def _client_certificate_settings(
    java_settings: dict[str, str], keystore_path: str, path: Path
) -> dict[str, str]:
    """What the client shows of itself."""
    kind = _store_type(java_settings, "keystore", keystore_path)
    if kind == "PKCS12":
        return {"ssl.keystore.location": keystore_path}
    if kind == "PEM":
        return {"ssl.certificate.location": keystore_path, "ssl.key.location": keystore_path}
    raise SourceError(
        f"{path}: the client's certificate is read as PEM or PKCS12, which {keystore_path} isn't; write it with"
        " keytool -importkeystore -deststoretype PKCS12, and say ssl.keystore.type=PKCS12."
    )


def _store_type(java_settings: dict[str, str], store: str, path: str) -> str:
    """What sort of file it is: as is said, or by its name; Java's own otherwise."""
    known = _TYPE_BY_SUFFIX.get(Path(path).suffix.lower(), "JKS")
    return java_settings.get(f"ssl.{store}.type", known).upper()
