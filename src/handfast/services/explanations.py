"""
Every reason for a refusal in plain words: what it means, what to do, and what AWS IoT would have logged.

The texts hold nothing that a peer sent: a certificate id is hex and a region
was checked, so that the commands can be pasted. What the peer sent stands in
the refusal's own members, for whoever shows it to escape.
"""

from __future__ import annotations

from typing import NamedTuple

from handfast.core.identity.refusal import Reason, ReasonCode, Refusal, Stage


class Explanation(NamedTuple):
    """One reason of a refusal, explained. `aws_log_reason` is None where AWS has no word for it."""

    code: ReasonCode
    what: str
    fix: str
    aws_log_reason: str | None


AWS_LOG_REASON: dict[ReasonCode, str] = {
    ReasonCode.CERTIFICATE_NOT_REGISTERED: "DEVICE_CERTIFICATE_NOT_REGISTERED",
    ReasonCode.CERTIFICATE_INACTIVE: "DEVICE_CERTIFICATE_INACTIVE",
    ReasonCode.CERTIFICATE_PENDING_ACTIVATION: "DEVICE_CERTIFICATE_INACTIVE",
    ReasonCode.CERTIFICATE_PENDING_TRANSFER: "DEVICE_CERTIFICATE_INACTIVE",
    ReasonCode.CERTIFICATE_JUST_REGISTERED: "DEVICE_CERTIFICATE_INACTIVE",
    ReasonCode.CERTIFICATE_JUST_PROVISIONED: "DEVICE_CERTIFICATE_INACTIVE",
    ReasonCode.PROVISIONING_FAILED: "DEVICE_CERTIFICATE_INACTIVE",
    ReasonCode.FIRST_CONNECTION_OVER_HTTPS: "DEVICE_CERTIFICATE_NOT_REGISTERED",
    ReasonCode.CERTIFICATE_TRANSFERRED: "DEVICE_CERTIFICATE_NOT_REGISTERED",
    ReasonCode.CERTIFICATE_REVOKED: "DEVICE_CERTIFICATE_REVOKED",
    ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT: "SNI_MISUSED",
    ReasonCode.DOMAIN_CONFIGURATION_DISABLED: "DOMAIN_CONFIGURATION_DISABLED",
    ReasonCode.DOMAIN_CONFIGURATION_INVALID: "DOMAIN_CONFIGURATION_INVALID",
    ReasonCode.PROTOCOL_NOT_OF_DOMAIN: "NOT_AUTHENTICATED",
    ReasonCode.CERTIFICATE_KEY_REFUSED: "NOT_AUTHENTICATED",
    ReasonCode.CERTIFICATE_SIGNATURE_REFUSED: "NOT_AUTHENTICATED",
    ReasonCode.CERTIFICATE_EXTENSION_REFUSED: "NOT_AUTHENTICATED",
    ReasonCode.CERTIFICATE_PURPOSE_REFUSED: "NOT_AUTHENTICATED",
    ReasonCode.PROVISIONING_CLAIM_ENDED: "DEVICE_CERTIFICATE_NOT_REGISTERED",
    ReasonCode.NO_POLICY_ATTACHED: "AUTHORIZATION_FAILURE",
    ReasonCode.EXPLICIT_DENY: "AUTHORIZATION_FAILURE",
    ReasonCode.IMPLICIT_DENY: "AUTHORIZATION_FAILURE",
    ReasonCode.INTERNAL: "INTERNAL_SERVER_ERROR",
}
"""`reason` of an AWS IoT log entry (spec/tls.md §5, spec/policy.md §6). Expiry, a missing or unknown server name and
everything before the certificate have none."""

_CODES = ReasonCode
_TEXTS: dict[ReasonCode, tuple[str, str]] = {
    # --- TLS
    _CODES.NOT_TLS: (
        "The client did not speak TLS: its first byte is not that of a TLS handshake.",
        "Turn TLS on in the client. Port 8883 is MQTT over TLS; there is no plain MQTT port.",
    ),
    _CODES.MALFORMED_CLIENT_HELLO: (
        "The client's first TLS message (ClientHello) breaks the rules of TLS.",
        "Check what speaks to this port: a TLS library never sends this, a scanner or a fuzzer does.",
    ),
    _CODES.OVERSIZED_CLIENT_HELLO: (
        "The client's first TLS message (ClientHello) is larger than 16 KB.",
        "Check what speaks to this port; a real ClientHello has between 200 and 2,000 bytes.",
    ),
    _CODES.CLIENT_HELLO_TIMEOUT: (
        "The client connected but did not finish its first TLS message in time.",
        "Check the network and whether the client really uses TLS on this port (a load balancer's probe looks like "
        "this too).",
    ),
    _CODES.HANDSHAKE_TIMEOUT: (
        "The TLS handshake was not finished in time.",
        "Check the network between device and server: a path MTU problem often stops just the large certificate "
        "messages.",
    ),
    _CODES.NO_COMMON_VERSION: (
        "The client offers no TLS version that is allowed here.",
        "Let the client use TLS 1.2 or 1.3; the record names the security policy (--tls-policy) and what it serves.",
    ),
    _CODES.NO_COMMON_CIPHER: (
        "The client offers no cipher suite, signature algorithm or group that is allowed here.",
        "Let the client offer an ECDHE suite with AES-GCM, the groups P-256 or X25519, and RSA or ECDSA signatures "
        "with SHA-256.",
    ),
    _CODES.UNKNOWN_ALPN: (
        "The client names (by ALPN) only protocols that are not served on this port.",
        "On 8883 and 8443 send no ALPN, or x-amzn-mqtt-ca for MQTT and x-amzn-http-ca for HTTPS; the last two also on "
        "--alpn-port.",
    ),
    _CODES.CUSTOM_AUTH_UNSUPPORTED: (
        "The client asks for a custom authorizer (ALPN mqtt), which is not supported.",
        "Connect with a client certificate: ALPN x-amzn-mqtt-ca, or none on 8883.",
    ),
    _CODES.HELLO_CHANGED: (
        "The client's second ClientHello names another server or protocol than its first.",
        "No ordinary client does this; check what stands between device and server.",
    ),
    _CODES.NO_CLIENT_CERTIFICATE: (
        "The client presented no certificate.",
        "Configure the device's certificate and private key in the client (mosquitto_pub: --cert and --key; paho: "
        "tls_set(certfile=…, keyfile=…)).",
    ),
    _CODES.CLIENT_CERTIFICATE_TOO_LARGE: (
        "The client's certificate message is larger than 16 KB.",
        "Let the client send its own certificate only, without a long chain.",
    ),
    _CODES.CLIENT_KEY_UNUSABLE: (
        "The client's certificate holds a key that TLS cannot use here.",
        "Use RSA of at least 2048 bits, or EC on P-256, P-384 or P-521. An RSA-PSS key needs TLS 1.3.",
    ),
    _CODES.POSSESSION_NOT_PROVEN: (
        "The client presented a certificate but could not prove that it holds its private key.",
        "Check that certificate and private key belong together: compare `openssl x509 -in certificate.pem -noout "
        "-pubkey` with `openssl pkey -in private.key -pubout`.",
    ),
    _CODES.CLIENT_REJECTED_SERVER: (
        "The client did not accept this server's certificate and broke the handshake off.",
        "Give the device the root certificate (trust/bundle.pem), and connect by a name that is in the server's "
        "certificate: `handfast chain HOST:PORT` shows both.",
    ),
    _CODES.CONNECTION_LOST_IN_HANDSHAKE: (
        "The connection was lost during the TLS handshake.",
        "If it happens again and again, check whether the client rejects the server's certificate without saying so: "
        "`handfast chain HOST:PORT` shows which root it needs.",
    ),
    _CODES.PROXY_HEADER_INVALID: (
        "A balancer named by --proxy-protocol did not say whose connection it hands on.",
        "Let the balancer send the PROXY protocol, version 1 or 2, before TLS on this port; or take its address out of "
        "--proxy-protocol.",
    ),
    _CODES.TOO_MANY_HANDSHAKES: (
        "Too many TLS handshakes were under way, in all or from this address.",
        "Let devices wait longer and at random between attempts (exponential back-off with jitter).",
    ),
    _CODES.TLS_FAILURE: (
        "The TLS handshake failed; the detail has the TLS library's reason.",
        "Try `openssl s_client -connect HOST:PORT -servername NAME -cert certificate.pem -key private.key` with the "
        "same certificate and compare.",
    ),
    # --- account and region
    _CODES.ENDPOINT_UNKNOWN: (
        "The server name that the client asked for is no endpoint here, and no local name that stands for one.",
        "Connect to the endpoint that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints. For a further "
        "local name start the server with --server-name NAME.",
    ),
    _CODES.ENDPOINT_OF_ANOTHER_ACCOUNT: (
        "The endpoint that the client asked for belongs to another account than its certificate.",
        "Connect to the endpoint of the account in which the certificate is registered (`aws iot describe-endpoint "
        "--endpoint-type iot:Data-ATS` with that account's key), or register the certificate in the endpoint's "
        "account.",
    ),
    _CODES.SNI_REQUIRED: (
        "The client sent no server name (SNI), and without one the certificate's account cannot be told.",
        "Let the client send SNI: connect by the endpoint's name, not by an IP address. A certificate registered "
        "without a CA always needs it.",
    ),
    _CODES.ACCOUNT_AMBIGUOUS: (
        "The client sent no server name (SNI), and its certificate is registered in more than one account.",
        "Let the client send SNI: connect by the name of the endpoint that is meant.",
    ),
    _CODES.ACCOUNT_DISABLED: (
        "The account is disabled, so all its devices and access keys are refused.",
        "The operator can enable it again: `handfast account enable`.",
    ),
    _CODES.DOMAIN_CONFIGURATION_DISABLED: (
        "The domain configuration of the name that the client asked for is DISABLED.",
        "Enable it (`aws iot update-domain-configuration --domain-configuration-status ENABLED "
        "--domain-configuration-name NAME`), or give the device another endpoint.",
    ),
    _CODES.DOMAIN_CONFIGURATION_INVALID: (
        "The domain configuration of the name that the client asked for has no server certificate that can be served.",
        "`aws iot describe-domain-configuration` says why, the server's log in detail; import the certificate again: "
        "`handfast server-cert import --arn ARN`.",
    ),
    _CODES.PROTOCOL_NOT_OF_DOMAIN: (
        "The domain configuration of the name that the client asked for takes another protocol, or another way to "
        "authenticate.",
        "Connect as its authenticationType and applicationProtocol say (`aws iot describe-domain-configuration`): the "
        "detail names both.",
    ),
    _CODES.ENDPOINT_SERVICE_NOT_BUILT: (
        "The endpoint that the client asked for belongs to a service that handfast does not have; the detail says "
        "which.",
        "For MQTT and publishing over HTTPS connect to the endpoint that `aws iot describe-endpoint --endpoint-type "
        "iot:Data-ATS` prints.",
    ),
    # --- certificate
    _CODES.CERTIFICATE_NOT_REGISTERED: (
        "The certificate is not registered in the account and region that the client connected to.",
        "Register it: `aws iot register-certificate-without-ca --certificate-pem file://certificate.pem --status "
        "ACTIVE`, or let `aws iot create-keys-and-certificate --set-as-active` make one. If it was registered, check "
        "account, region and endpoint. Its id is {certificate_id}.",
    ),
    _CODES.CERTIFICATE_INACTIVE: (
        "The certificate is registered but INACTIVE.",
        "Activate it: `aws iot update-certificate --certificate-id {certificate_id} --new-status ACTIVE`.",
    ),
    _CODES.CERTIFICATE_REVOKED: (
        "The certificate is REVOKED, which cannot be undone.",
        "Give the device a new certificate.",
    ),
    _CODES.CERTIFICATE_PENDING_TRANSFER: (
        "The certificate is being transferred to another account.",
        "Accept the transfer there (`aws iot accept-certificate-transfer --certificate-id {certificate_id}`), or "
        "cancel it here (`aws iot cancel-certificate-transfer --certificate-id {certificate_id}`).",
    ),
    _CODES.CERTIFICATE_PENDING_ACTIVATION: (
        "The certificate is registered but was never activated (PENDING_ACTIVATION).",
        "If fleet provisioning made it, let the device finish that (its request on "
        "$aws/provisioning-templates/NAME/provision/json): activating it by hand goes round the template and its hook. "
        "Else activate it: `aws iot update-certificate --certificate-id {certificate_id} --new-status ACTIVE`.",
    ),
    _CODES.CERTIFICATE_EXPIRED: (
        "The certificate's validity is over (notAfter has passed).",
        "Give the device a new certificate. If it should still be valid, check the server's clock.",
    ),
    _CODES.CERTIFICATE_NOT_YET_VALID: (
        "The certificate's validity has not begun (notBefore lies in the future).",
        "Check the clock of whoever issued it, and the server's; or wait.",
    ),
    _CODES.CERTIFICATE_KEY_REFUSED: (
        "The certificate's key is too weak or of a kind that is not accepted.",
        "Issue a certificate for an RSA key of 2048 bits or more, or an EC key on P-256, P-384 or P-521.",
    ),
    _CODES.CERTIFICATE_SIGNATURE_REFUSED: (
        "The certificate is signed with an algorithm that is not accepted.",
        "Issue it again, signed with SHA-256, SHA-384 or SHA-512 and RSA or ECDSA.",
    ),
    _CODES.CERTIFICATE_EXTENSION_REFUSED: (
        "The certificate has a critical extension that is not evaluated here, which forbids using it.",
        "Issue it again without that extension, or with the extension not critical.",
    ),
    _CODES.CERTIFICATE_PURPOSE_REFUSED: (
        "Whoever issued the certificate did not mean it for a device that authenticates itself with it; the detail "
        "names the extension that says so.",
        "Issue it again as a device's: no CA (basicConstraints CA:FALSE, or none), keyUsage with digitalSignature and "
        "extendedKeyUsage with clientAuth, or without these extensions.",
    ),
    _CODES.PROVISIONING_CLAIM_ENDED: (
        "The certificate was a claim of CreateProvisioningClaim, and the claim is over.",
        "Let the trusted user make a new claim (`aws iot create-provisioning-claim --template-name NAME`) and "
        "provision the device with it within five minutes; the template has to be enabled meanwhile.",
    ),
    # --- first connections
    _CODES.CERTIFICATE_JUST_REGISTERED: (
        "The certificate was registered (PENDING_ACTIVATION) at this connection, because a registered CA that "
        "registers by itself signed it; the connection is closed, and the device may come back.",
        "Activate it (`aws iot update-certificate --certificate-id {certificate_id} --new-status ACTIVE`) and attach a "
        "policy (`aws iot attach-policy --policy-name NAME --target "
        "arn:aws:iot:{region}:{account}:cert/{certificate_id}`), or let a subscriber do so that hears of "
        "$aws/events/certificates/registered/#. A provisioning template on the CA does both at the first connection.",
    ),
    _CODES.CERTIFICATE_JUST_PROVISIONED: (
        "The device was provisioned at this connection, and the server runs with --jitp aws: as AWS IoT does, it "
        "closes the first connection.",
        "Let the device connect again; nothing else is needed.",
    ),
    _CODES.PROVISIONING_FAILED: (
        "The template of the CA that signed the certificate could not be carried out for this device; the detail says "
        "which resource failed and why. The certificate stays PENDING_ACTIVATION.",
        "See `handfast provisioning runs --certificate {certificate_id}` and put right what it names. An "
        "AWS::IoT::Certificate parameter that cannot be resolved is a field that the certificate's subject lacks: give "
        "the parameter a Default, or issue the certificate again. Then let the device connect again, or "
        "`handfast provisioning retry {certificate_id}`.",
    ),
    _CODES.FLEET_REQUEST_REJECTED: (
        "A request of fleet provisioning was rejected; the detail has the error code and the message that the device "
        "got on …/rejected. The connection goes on.",
        "Put right what the message names: the claim's policy and limits (`handfast claim show {certificate_id}`), the "
        "template (is it enabled? `aws iot describe-provisioning-template`), its hook (`handfast hook list`), or what "
        "the device sends.",
    ),
    _CODES.FIRST_CONNECTION_OVER_HTTPS: (
        "A registered CA vouches for the certificate, but devices are registered at their first MQTT connection only.",
        "Let the device connect over MQTT once, or register the certificate: `aws iot register-certificate "
        "--certificate-pem file://certificate.pem --set-as-active`.",
    ),
    _CODES.CA_DOES_NOT_REGISTER: (
        "A registered CA signed the certificate, but the CA does not register devices by itself at the moment.",
        "If it should: `aws iot update-ca-certificate --certificate-id {subject} --new-status ACTIVE "
        "--new-auto-registration-status ENABLE`, then let the device connect again. Else register this certificate "
        "alone: `aws iot register-certificate --certificate-pem file://certificate.pem --set-as-active`.",
    ),
    _CODES.CA_DOES_NOT_VOUCH: (
        "No registered CA may vouch for the certificate, although one bears the name of its issuer; the detail says "
        "why.",
        "Register the CA that signed the certificate itself, not one above it; let only one CA certificate of a name "
        "and key register devices by itself; a CA has to be inside its validity and its constraints.",
    ),
    _CODES.CERTIFICATE_TRANSFERRED: (
        "The certificate was transferred to another account, and may not register itself back.",
        "Connect to the endpoint of the account that has it now. If it should come back: register it here on purpose, "
        "or lift the mark with `handfast cert forget {certificate_id}`.",
    ),
    # --- protocol
    _CODES.FIRST_PACKET_NOT_CONNECT: (
        "The first MQTT packet was not CONNECT.",
        "Check that the client speaks MQTT on this port; HTTPS has a port of its own (8443).",
    ),
    _CODES.UNSUPPORTED_PROTOCOL_VERSION: (
        "The client speaks a version of MQTT that is not supported.",
        "Use MQTT 3.1.1 (protocol level 4) or MQTT 5.",
    ),
    _CODES.MQTT5_AT_LEGACY_ENDPOINT: (
        "The client speaks MQTT 5 at the legacy endpoint (iot:Data), which serves MQTT 3.1.1 alone, as AWS IoT's did.",
        "Move the device to the endpoint that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints, with a "
        "root of it in its trust store; or let it speak MQTT 3.1.1 for as long as it stays.",
    ),
    _CODES.CONNECT_TIMEOUT: (
        "The client finished TLS but sent no CONNECT packet in time.",
        "Check that it is an MQTT client, and the network.",
    ),
    _CODES.MALFORMED_PACKET: (
        "The client sent a packet that is not well-formed; the detail says where.",
        "Check the client's MQTT library; compare with the clause that the detail names.",
    ),
    _CODES.PROTOCOL_ERROR: (
        "The client sent a packet that the protocol does not allow at this point.",
        "Check the client's MQTT library; compare with the clause that the detail names.",
    ),
    _CODES.PACKET_TOO_LARGE: (
        "The client sent a packet that is larger than allowed (128 KB of payload).",
        "Send less in one message, or split it.",
    ),
    _CODES.CLIENT_IDENTIFIER_NOT_VALID: (
        "The client id is not legal: empty where one is needed, longer than 128 bytes, or with forbidden characters.",
        "Give the client an id of 1 to 128 bytes of UTF-8.",
    ),
    _CODES.TOPIC_NOT_VALID: (
        "The topic or topic filter is not legal, too long, or has too many levels.",
        "Use at most 256 bytes and 7 slashes; wildcards only in filters; topics that begin with $ are reserved.",
    ),
    _CODES.QOS_NOT_SUPPORTED: (
        "The client asked for QoS 2, which is not supported.",
        "Use QoS 0 or 1.",
    ),
    _CODES.LIMIT_EXCEEDED: (
        "A limit was exceeded; the detail says which.",
        "Stay below it: the limits are those of AWS IoT Core.",
    ),
    # --- policy
    _CODES.NO_POLICY_ATTACHED: (
        "No policy is attached to the certificate, so it may do nothing.",
        "Attach one: `aws iot attach-policy --policy-name NAME --target "
        "arn:aws:iot:{region}:{account}:cert/{certificate_id}`.",
    ),
    _CODES.EXPLICIT_DENY: (
        "A Deny statement of an attached policy forbids it; the detail says which.",
        "Change that statement, or detach the policy. A Deny wins over every Allow.",
    ),
    _CODES.IMPLICIT_DENY: (
        "No statement of the attached policies allows it on this resource.",
        "Compare action and resource with the policies (`aws iot list-attached-policies --target "
        "arn:aws:iot:{region}:{account}:cert/{certificate_id}`). iot:Connect is about client/CLIENT_ID, iot:Publish "
        "and iot:Receive about topic/TOPIC, iot:Subscribe about topicfilter/FILTER, and a retained message needs "
        "iot:RetainPublish besides. A variable about the thing has a value only when the certificate is attached to "
        "a thing whose name is the client id.",
    ),
    # --- API
    _CODES.API_MISSING_SIGNATURE: (
        "The request to the API carries no signature.",
        "Sign it (AWS Signature Version 4), as the AWS CLI and SDKs do with the keys in the credentials file.",
    ),
    _CODES.API_UNKNOWN_KEY: (
        "The access key id of the request is not known here, or was revoked.",
        "Use the keys in the data directory's credentials file: export AWS_SHARED_CREDENTIALS_FILE as the start "
        "screen says.",
    ),
    _CODES.API_WRONG_SIGNATURE: (
        "The signature of the request is wrong.",
        "Check the secret access key, and that nothing on the way changes path, query or headers.",
    ),
    _CODES.API_CLOCK_SKEW: (
        "The request's time is more than five minutes off the server's, or the time of its presigned URL is over.",
        "Set the caller's clock, or the server's; sign a URL anew before it is used.",
    ),
    _CODES.INTERNAL: (
        "handfast failed inside and refused to be on the safe side.",
        "Look into the server's log at this time, and report it.",
    ),
}


_WRONG_PLACE, _NEW_CERTIFICATE, _AT_FIRST_CONNECTION, _AS_FOUND, _REGISTER = range(5)
_FIX_ORDER: dict[ReasonCode, int] = {
    # Whoever connects to the wrong place learns nothing about the right one.
    _CODES.ACCOUNT_DISABLED: _WRONG_PLACE,
    _CODES.ENDPOINT_UNKNOWN: _WRONG_PLACE,
    _CODES.ENDPOINT_OF_ANOTHER_ACCOUNT: _WRONG_PLACE,
    _CODES.ENDPOINT_SERVICE_NOT_BUILT: _WRONG_PLACE,
    _CODES.SNI_REQUIRED: _WRONG_PLACE,
    _CODES.ACCOUNT_AMBIGUOUS: _WRONG_PLACE,
    # No status and no registration helps a certificate that can never be used.
    _CODES.CERTIFICATE_REVOKED: _NEW_CERTIFICATE,
    _CODES.CERTIFICATE_EXPIRED: _NEW_CERTIFICATE,
    _CODES.CERTIFICATE_KEY_REFUSED: _NEW_CERTIFICATE,
    _CODES.CERTIFICATE_SIGNATURE_REFUSED: _NEW_CERTIFICATE,
    _CODES.CERTIFICATE_EXTENSION_REFUSED: _NEW_CERTIFICATE,
    _CODES.CERTIFICATE_PURPOSE_REFUSED: _NEW_CERTIFICATE,
    # What keeps a certificate from registering itself says more than that it is not registered.
    _CODES.CA_DOES_NOT_REGISTER: _AT_FIRST_CONNECTION,
    _CODES.CA_DOES_NOT_VOUCH: _AT_FIRST_CONNECTION,
    _CODES.FIRST_CONNECTION_OVER_HTTPS: _AT_FIRST_CONNECTION,
    _CODES.CERTIFICATE_TRANSFERRED: _AT_FIRST_CONNECTION,
    _CODES.CERTIFICATE_NOT_REGISTERED: _REGISTER,
}


def fix_order(reason: Reason) -> int:
    """Sorts reasons by what to put right first; the sort has to be stable, since others are as they were found."""
    if reason.code is ReasonCode.PROVISIONING_CLAIM_ENDED:
        return -1  # a claim is no device's certificate: nothing else that is said about it matters
    return _FIX_ORDER.get(reason.code, _AS_FOUND)


def explain(refusal: Refusal) -> list[tuple[Reason, Explanation]]:
    """Every reason of the refusal with its plain words, what is to be put right first in front."""
    ordered = sorted(refusal.reasons, key=fix_order)
    return [(reason, explain_code(reason.code, refusal, reason.subject)) for reason in ordered]


def aws_log_reason(refusal: Refusal) -> str | None:
    """The one reason that AWS IoT would log: of the first reason found that it has a word for."""
    return next((AWS_LOG_REASON[reason.code] for reason in refusal.reasons if reason.code in AWS_LOG_REASON), None)


_NOT_WITH_THIS_KEY = (
    "The access key that signed the request is not for that.",
    "Sign with an account's key for its things, topics and certificates (profile handfast in the credentials file, or "
    "one of `handfast account keys add`), with the operator's (profile handfast-operator) for accounts, roots, hooks.",
)
"""IMPLICIT_DENY at the API, where no policy is asked."""


def explain_code(code: ReasonCode, refusal: Refusal, subject: str = "") -> Explanation:
    """The words for `code`; the refusal's certificate, account and region, and `subject`, are put into the commands."""
    at_api = code is ReasonCode.IMPLICIT_DENY and refusal.stage is Stage.API
    what, fix = _NOT_WITH_THIS_KEY if at_api else _TEXTS[code]
    for name, value in (
        ("{certificate_id}", refusal.certificate_id or "CERTIFICATE_ID"),
        ("{subject}", subject or "CA_CERTIFICATE_ID"),
        ("{account}", refusal.account or "ACCOUNT"),
        ("{region}", refusal.region or "REGION"),
    ):
        fix = fix.replace(name, value)
    return Explanation(code, what, fix, AWS_LOG_REASON.get(code))
