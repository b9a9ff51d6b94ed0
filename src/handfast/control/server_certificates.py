"""The operator's operations on server certificates (/handfast/v1)."""

from __future__ import annotations

from handfast.control.context import Handler, Result, cause_of, present, require_operator
from handfast.core.identity.arns import server_certificate_in_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import AccountId, Scope
from handfast.errors import InvalidRequestError
from handfast.services.endpoints import check_region
from handfast.services.server_certificates import Served, ServerCertificates, arn_of, instants, shown_names
from handfast.services.stapling import StaplingReport


class ServerCertificateHandlers:
    """Handlers by operation name in `handlers`. Each refuses an account's key; no answer holds a private key."""

    def __init__(self, certificates: ServerCertificates) -> None:
        self._certificates = certificates
        self.handlers: dict[str, Handler] = {
            "ImportServerCertificate": self.import_server_certificate,
            "ListServerCertificates": self.list_server_certificates,
            "DeleteServerCertificate": self.delete_server_certificate,
        }

    async def import_server_certificate(
        self,
        ctx: Caller,
        *,
        certificate: str,
        private_key: str | None = None,
        certificate_chain: str | None = None,
        account_id: str | None = None,
        name: str | None = None,
        server_certificate_arn: str | None = None,
    ) -> Result:
        """A new certificate of an account in the region of the signature, or one in place of another."""
        require_operator(ctx)
        cause = cause_of(ctx, "ImportServerCertificate")
        material = {"certificate_pem": certificate, "chain_pem": certificate_chain or "", "key_pem": private_key}
        if server_certificate_arn is not None:
            if account_id is not None or name is not None:
                raise InvalidRequestError("serverCertificateArn stands for accountId and name; give it alone")
            scope, certificate_id = server_certificate_in_arn(server_certificate_arn)
            return self._shown(
                await self._certificates.import_again(scope, cause, certificate_id, **material)  # type: ignore[arg-type]
            )
        if account_id is None or name is None:
            raise InvalidRequestError("accountId and name are required, or serverCertificateArn to replace one")
        scope = Scope(AccountId(account_id), check_region(ctx.region))
        return self._shown(
            await self._certificates.import_new(scope, cause, name, **material)  # type: ignore[arg-type]
        )

    async def list_server_certificates(self, ctx: Caller, *, account_id: str | None = None) -> Result:
        require_operator(ctx)
        found = await self._certificates.list_all(None if account_id is None else AccountId(account_id))
        return {"server_certificates": [self._shown(each) for each in found]}

    async def delete_server_certificate(self, ctx: Caller, *, server_certificate_arn: str) -> Result:
        require_operator(ctx)
        scope, certificate_id = server_certificate_in_arn(server_certificate_arn)
        await self._certificates.delete(scope, cause_of(ctx, "DeleteServerCertificate"), certificate_id)
        return {}

    def _shown(self, served: Served) -> Result:
        record = served.record
        health, detail = self._certificates.standing(served)
        not_before, not_after = instants(served.chain)
        return {
            "server_certificate_arn": arn_of(record),
            "name": record.name,
            "account_id": record.scope.account,
            "region": record.scope.region,
            "domain_names": shown_names(served.chain),
            "has_private_key": record.key_name is not None,
            "not_before": not_before,
            "not_after": not_after,
            "imported_date": record.imported_at,
            "status": health.value,
        } | present(status_detail=detail or None, stapling=_stapling(self._certificates.stapling(served)))


def _stapling(report: StaplingReport | None) -> Result | None:
    if report is None:
        return None
    return {"state": "none" if report.stapled is None else report.stapled.value} | present(
        responder=report.url,
        this_update=report.this_update,
        next_update=report.next_update,
        asked_date=report.asked_at,
        result=None if report.result is None else report.result.value,
        detail=report.detail or None,
    )
