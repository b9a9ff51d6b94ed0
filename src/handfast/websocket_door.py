"""MQTT over WebSocket put together: who may sign, the plane that judges, the application before the others."""

from __future__ import annotations

from starlette.types import ASGIApp

from handfast.data.websocket import Admit, WebSocketApplication
from handfast.gateway.gateway import Gateway
from handfast.gateway.websocket import WebSocketTransport
from handfast.ports import Clock, Entropy, Meter
from handfast.services.account_keys import AccountKeys
from handfast.services.accounts import Accounts, Signer, is_account_id
from handfast.services.endpoints import EndpointDirectory
from handfast.services.recording import Recorder
from handfast.wire.sigv4 import Authenticator


def account_keys(
    accounts: Accounts, endpoints: EndpointDirectory, recorder: Recorder, clock: Clock, *, dev: bool
) -> AccountKeys:
    """The judge of signed connections; with `dev` of account numbers too."""

    async def also_numbers(access_key_id: str) -> Signer | None:
        return await (accounts.dev_signer if is_account_id(access_key_id) else accounts.signer)(access_key_id)

    return AccountKeys(also_numbers if dev else accounts.signer, recorder, clock, endpoints.name_called)


class WebSocketDoor:
    """Puts `GET /mqtt` before the applications of the API port and of the ALPN port."""

    def __init__(
        self, gateway: Gateway, authenticator: Authenticator, recorder: Recorder, meter: Meter, entropy: Entropy
    ) -> None:
        self._gateway = gateway
        self._authenticator = authenticator
        self._recorder = recorder
        self._meter = meter
        self._entropy = entropy

    def before(self, application: ASGIApp, admit: Admit | None = None) -> ASGIApp:
        """The application with `/mqtt` taken out of it; `admit` as for its signed requests."""
        return WebSocketApplication(
            self._authenticator,
            lambda facts: WebSocketTransport(self._gateway.accept(facts)),
            application,
            recorder=self._recorder,
            meter=self._meter,
            entropy=self._entropy,
            admit=admit,
        )
