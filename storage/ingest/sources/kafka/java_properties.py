"""Translates a configuration of Java's Kafka client to librdkafka's settings.

People use one such file for all of their tools. Settings for login and TLS are translated or refused,
never ignored; settings that only concern Java's client are ignored.
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
"""Settings with the same meaning under another name."""
_TYPE_BY_SUFFIX = {".pem": "PEM", ".crt": "PEM", ".p12": "PKCS12", ".pfx": "PKCS12"}


def to_librdkafka_settings(java_settings: dict[str, str], path: Path) -> dict[str, str]:
    """Return the settings in librdkafka's names; settings that both clients have stay unchanged.

    Raises `SourceError` if a setting has no counterpart; `path` names the file in the message.
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
                f"{path}: the truststore {truststore_path} must be a PEM file; export its certificates with"
                " keytool -exportcert -rfc, and set ssl.ca.location to that file."
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
    """Return the user name and password of a JAAS entry as settings."""
    module = jaas_entry.split(maxsplit=1)[0].rpartition(".")[2] if jaas_entry.strip() else "nothing"
    if module not in _WITH_PASSWORD:
        raise SourceError(
            f"{path}: {_JAAS_SETTING} names {module}, but refold translates only logins with a name and a"
            f" password ({', '.join(_WITH_PASSWORD)}); write the login as librdkafka settings (sasl.…)."
        )
    options = {
        name: re.sub(r"\\(.)", r"\1", double or single) or bare
        for name, double, single, bare in _OPTION.findall(jaas_entry)
    }
    lacks = [name for name in ("username", "password") if name not in options]
    if lacks:
        raise SourceError(f"{path}: {_JAAS_SETTING} has no {lacks[0]}; add it.")
    return {f"sasl.{name}": options[name] for name in ("username", "password")}


def _client_certificate_settings(
    java_settings: dict[str, str], keystore_path: str, path: Path
) -> dict[str, str]:
    """Return the settings of the client's certificate and key."""
    kind = _store_type(java_settings, "keystore", keystore_path)
    if kind == "PKCS12":
        return {"ssl.keystore.location": keystore_path}
    if kind == "PEM":
        return {"ssl.certificate.location": keystore_path, "ssl.key.location": keystore_path}
    raise SourceError(
        f"{path}: the keystore {keystore_path} must be a PEM or PKCS12 file; convert it with"
        " keytool -importkeystore -deststoretype PKCS12, and set ssl.keystore.type=PKCS12."
    )


def _store_type(java_settings: dict[str, str], store: str, path: str) -> str:
    """Return the type of a store: its setting, else by the file's extension, else JKS."""
    known = _TYPE_BY_SUFFIX.get(Path(path).suffix.lower(), "JKS")
    return java_settings.get(f"ssl.{store}.type", known).upper()
