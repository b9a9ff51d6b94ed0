// A device with AWS's device SDK for JavaScript over mutual TLS: MQTT 5 and 3.1.1 on each port that it is given, and
// Node's own HTTPS for publishing with the certificate. Prints what came back, as one JSON object.

import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { once } from 'node:events';
import { iot, mqtt, mqtt5 } from 'aws-iot-device-sdk-v2';

const { host, ports, https, certificate, key, root, topic } = JSON.parse(process.argv[2]);

const five = async (port) => {
  const config = iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(host, certificate, key)
    .withCertificateAuthorityFromPath(undefined, root)
    .withPort(port)
    .withConnectProperties({ clientId: `js-five-${port}`, keepAliveIntervalSeconds: 30 })
    .build();
  const client = new mqtt5.Mqtt5Client(config);
  const arrived = once(client, 'messageReceived');
  const outcome = Promise.race([once(client, 'connectionSuccess'), once(client, 'connectionFailure')]);
  client.start();
  const [event] = await outcome;
  if (event.error) {
    client.stop();
    client.close();
    return { failed: event.error.error_name ?? String(event.error), reason: event.connack?.reasonCode };
  }
  const subscriptions = [{ topicFilter: `${topic}/five/${port}`, qos: mqtt5.QoS.AtLeastOnce }];
  const granted = (await client.subscribe({ subscriptions })).reasonCodes;
  const userProperties = [{ name: 'k', value: 'v' }];
  const packet = { topicName: `${topic}/five/${port}`, payload: 'hello', qos: mqtt5.QoS.AtLeastOnce, userProperties };
  const acknowledged = (await client.publish(packet)).reasonCode;
  const [{ message }] = await arrived;
  const stopped = once(client, 'stopped');
  client.stop();
  await stopped;
  client.close();
  return { granted, acknowledged, payload: Buffer.from(message.payload).toString(), properties: message.userProperties };
};

const three = async (port) => {
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(certificate, key)
    .with_certificate_authority_from_path(undefined, root)
    .with_clean_session(true)
    .with_client_id(`js-three-${port}`)
    .with_endpoint(host)
    .with_port(port)
    .build();
  const connection = new mqtt.MqttClient().new_connection(config);
  try {
    const present = await connection.connect();
    let arrived;
    const payload = new Promise((resolve) => (arrived = resolve));
    await connection.subscribe(`${topic}/three/${port}`, mqtt.QoS.AtLeastOnce, (_, bytes) => arrived(bytes));
    await connection.publish(`${topic}/three/${port}`, 'hello', mqtt.QoS.AtLeastOnce);
    const got = Buffer.from(await payload).toString();
    await connection.disconnect();
    return { present, payload: got };
  } catch (error) {
    return { failed: String(error) };
  }
};

const post = async (port, options) => {
  const files = { cert: readFileSync(certificate), key: readFileSync(key), ca: readFileSync(root) };
  const path = `/topics/${topic}/https/${port}?qos=1`;
  const sent = request({ host, port, path, method: 'POST', agent: false, timeout: 10_000, ...files, ...options });
  sent.end('hello');
  const [answer] = await once(sent, 'response');
  answer.resume();
  return answer.statusCode;
};

const told = { five: {}, three: {}, https: [] };
for (const port of ports) {
  told.five[port] = await five(port);
  told.three[port] = await three(port);
}
for (const [port, alpn] of https) {
  told.https.push([port, alpn, await post(port, alpn ? { ALPNProtocols: [alpn] } : {})]);
}
console.log(JSON.stringify(told));
process.exit(0);
