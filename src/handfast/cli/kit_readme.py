"""README.txt of a device kit: lines that work when pasted inside the folder."""

from __future__ import annotations


def readme(
    *,
    thing: str,
    client_id: str,
    endpoint: str,
    host: str,
    mqtt_port: int,
    https_port: int,
    alpn_port: int | None = None,
    has_key: bool,
) -> str:
    """
    The text. `host` resolves on the machine where the kit was made; SNI and the name that is verified are
    the endpoint's wherever the client lets us say so.
    """
    topic = f"{thing}/greeting"
    key = (
        "private.key       its private key, made on this machine; nobody else has a copy\n"
        if has_key
        else "private.key       not here: put the key that signed the CSR beside these files under this name\n"
    )
    stands_in = (
        ""
        if host == endpoint
        else f"""
This machine did not resolve the endpoint when the kit was made, so the lines below say
{host} instead. Where the endpoint resolves, use its name.
"""
    )
    by_alpn = (
        f"either            port {alpn_port}, ALPN x-amzn-mqtt-ca for MQTT, x-amzn-http-ca for HTTPS\n"
        if alpn_port is not None
        else ""
    )
    return f"""The device {thing}

certificate.pem   its X.509 certificate
{key}root-ca.pem       the roots that the device must trust
device.json       endpoint, ports, client id and certificate id for programs

endpoint          {endpoint}
MQTT              port {mqtt_port}, mutual TLS, client id {client_id}
HTTPS             port {https_port}, mutual TLS, POST /topics/TOPIC
{by_alpn}topics            {thing}/…
{stands_in}
Run the lines below inside this folder.

== mosquitto_pub ==

mosquitto_pub -h {host} -p {mqtt_port} --cafile root-ca.pem --cert certificate.pem --key private.key \\
  -i {client_id} -t {topic} -m hello -q 1 -d

== paho (pip install paho-mqtt) ==

python3 - <<'END'
import paho.mqtt.client as mqtt

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="{client_id}", protocol=mqtt.MQTTv5)
client.tls_set("root-ca.pem", "certificate.pem", "private.key")
client.on_connect = lambda client, userdata, flags, reason, properties: print("connected:", reason)
client.connect("{host}", {mqtt_port})
client.loop_start()
client.publish("{topic}", "hello", qos=1).wait_for_publish(10)
print("published")
client.disconnect()
END

== AWS IoT device SDK (pip install awsiotsdk) ==

python3 - <<'END'
from awscrt import mqtt
from awsiot import mqtt_connection_builder

connection = mqtt_connection_builder.mtls_from_path(
    endpoint="{host}", port={mqtt_port}, client_id="{client_id}", clean_session=True, keep_alive_secs=30,
    cert_filepath="certificate.pem", pri_key_filepath="private.key", ca_filepath="root-ca.pem",
)
connection.connect().result(10)
connection.publish("{topic}", "hello", mqtt.QoS.AT_LEAST_ONCE)[0].result(10)
print("published")
connection.disconnect().result(10)
END

== openssl s_client ==

openssl s_client -connect {host}:{mqtt_port} -servername {endpoint} -verify_hostname {endpoint} \\
  -CAfile root-ca.pem -cert certificate.pem -key private.key -verify_return_error -brief </dev/null

== curl, over HTTPS ==

curl --cacert root-ca.pem --cert certificate.pem --key private.key \\
  --data hello 'https://{host}:{https_port}/topics/{topic}?qos=1'
"""
