"""Who reaches the service and how: API keys, certificate and key, as they are read once, before anything starts."""

import ssl
from dataclasses import dataclass
from typing import Self

from app.api_keys import ApiKeys, api_keys, doubts_about_keys
from app.settings import Settings
from app.tls import server_tls


@dataclass(frozen=True)
class Access:
    """The keys that requests need, what encrypts connections (None: nothing does), and warnings about the keys."""

    keys: ApiKeys
    tls: ssl.SSLContext | None
    doubts: tuple[str, ...]

    @classmethod
    def as_set(cls, settings: Settings) -> Self:
        """As the options say. Raises SettingsError where what they name cannot be used."""
        tls = server_tls(settings)
        return cls(api_keys(settings), tls, tuple(doubts_about_keys(settings)))
