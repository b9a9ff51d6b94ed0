// AWS's device SDK for JavaScript over WebSocket, signed with an access key (SigV4): MQTT 5 and 3.1.1 on each port that
// it is given, and a key whose secret is wrong. Prints what came back, as one JSON object.

import { once } from 'node:events';
import { auth, iot, mqtt, mqtt5 } from 'aws-iot-device-sdk-v2';

const { host, ports, root, topic } = JSON.parse(process.argv[2]);
const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, AWS_REGION: region } = process.env;

const five = async (port, key) => {
  const credentialsProvider = auth.AwsCredentialsProvider.newStatic(id, key);
  const config = iot.AwsIotMqtt5ClientConfigBuilder.newWebsocketMqttBuilderWithSigv4Auth(host, {
    credentialsProvider,
    region,
  })
    .withCertificateAuthorityFromPath(undefined, root)
    .withPort(port)
    .withConnectProperties({ clientId: `js-signed-five-${port}`, keepAliveIntervalSeconds: 30 })
    .build();
  const client = new mqtt5.Mqtt5Client(config);
  const arrived = once(client, 'messageReceived');
  const outcome = Promise.race([once(client, 'connectionSuccess'), once(client, 'connectionFailure')]);
  client.start();
  const [event] = await outcome;
  if (event.error) {
    client.stop();
    client.close();
    return { failed: event.error.error_name ?? String(event.error) };
  }
  const subscriptions = [{ topicFilter: `${topic}/five/${port}`, qos: mqtt5.QoS.AtLeastOnce }];
  const granted = (await client.subscribe({ subscriptions })).reasonCodes;
  const packet = { topicName: `${topic}/five/${port}`, payload: 'hello', qos: mqtt5.QoS.AtLeastOnce };
  const acknowledged = (await client.publish(packet)).reasonCode;
  const [{ message }] = await arrived;
  const stopped = once(client, 'stopped');
  client.stop();
  await stopped;
  client.close();
  return { granted, acknowledged, payload: Buffer.from(message.payload).toString() };
};

const three = async (port) => {
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_with_websockets()
    .with_credentials(region, id, secret)
    .with_certificate_authority_from_path(undefined, root)
    .with_clean_session(true)
    .with_client_id(`js-signed-three-${port}`)
    .with_endpoint(host)
    .with_port(port)
    .build();
  const connection = new mqtt.MqttClient().new_connection(config);
  await connection.connect();
  let arrived;
  const payload = new Promise((resolve) => (arrived = resolve));
  await connection.subscribe(`${topic}/three/${port}`, mqtt.QoS.AtLeastOnce, (_, bytes) => arrived(bytes));
  await connection.publish(`${topic}/three/${port}`, 'hello', mqtt.QoS.AtLeastOnce);
  const got = Buffer.from(await payload).toString();
  await connection.disconnect();
  return got;
};

const told = { five: {}, three: {}, forged: await five(ports[0], 'wrong') };
for (const port of ports) {
  told.five[port] = await five(port, secret);
  told.three[port] = await three(port);
}
console.log(JSON.stringify(told));
process.exit(0);
