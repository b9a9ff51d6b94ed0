// The control plane and the signed data plane through AWS's SDK for JavaScript, unchanged but for credentials, endpoint
// and ports, which it takes from its own environment variables. Prints what it was answered, as one JSON object.

import {
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateKeysAndCertificateCommand,
  CreatePolicyCommand,
  CreateThingCommand,
  DescribeCertificateCommand,
  DescribeEndpointCommand,
  DescribeThingCommand,
  IoTClient,
  ListThingPrincipalsCommand,
  ListThingsCommand,
  UpdateCertificateCommand,
  paginateListThings,
} from '@aws-sdk/client-iot';
import { GetRetainedMessageCommand, IoTDataPlaneClient, PublishCommand } from '@aws-sdk/client-iot-data-plane';

const { name, topic, signedEndpoint } = JSON.parse(process.argv[2]);
const told = {};

const failure = async (promise) => {
  try {
    await promise;
    return null;
  } catch (error) {
    return { name: error.name, fault: error.$fault, status: error.$metadata?.httpStatusCode, message: error.message };
  }
};

const iot = new IoTClient({ maxAttempts: 1 });
told.endpoint = (await iot.send(new DescribeEndpointCommand({ endpointType: 'iot:Data-ATS' }))).endpointAddress;
const made = await iot.send(new CreateKeysAndCertificateCommand({ setAsActive: true }));
told.certificate = { id: made.certificateId, arn: made.certificateArn, pem: made.certificatePem, key: made.keyPair.PrivateKey };
const document = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'iot:*', Resource: '*' }] };
const policy = await iot.send(new CreatePolicyCommand({ policyName: name, policyDocument: JSON.stringify(document) }));
told.policyVersion = policy.policyVersionId;
const thing = { thingName: name, attributePayload: { attributes: { maker: 'javascript' } } };
told.thingArn = (await iot.send(new CreateThingCommand(thing))).thingArn;
for (const n of [1, 2]) {
  await iot.send(new CreateThingCommand({ thingName: `${name}-${n}`, attributePayload: thing.attributePayload }));
}
await iot.send(new AttachPolicyCommand({ policyName: name, target: made.certificateArn }));
await iot.send(new AttachThingPrincipalCommand({ thingName: name, principal: made.certificateArn }));
told.principals = (await iot.send(new ListThingPrincipalsCommand({ thingName: name }))).principals;

const described = await iot.send(new DescribeCertificateCommand({ certificateId: made.certificateId }));
told.status = described.certificateDescription.status;
told.datesAreDates = described.certificateDescription.creationDate instanceof Date;

told.pages = [];
const search = { attributeName: 'maker', attributeValue: 'javascript', maxResults: 2 };
for await (const page of paginateListThings({ client: iot, pageSize: 2 }, search)) {
  told.pages.push(page.things.map((found) => found.thingName).filter((found) => found.startsWith(name)));
}

told.errors = {
  missing: await failure(iot.send(new DescribeThingCommand({ thingName: `${name}-nobody` }))),
  twice: await failure(iot.send(new CreatePolicyCommand({ policyName: name, policyDocument: JSON.stringify(document) }))),
  malformed: await failure(iot.send(new CreatePolicyCommand({ policyName: `${name}-bad`, policyDocument: '{' }))),
  invalid: await failure(iot.send(new UpdateCertificateCommand({ certificateId: made.certificateId, newStatus: 'GONE' }))),
  forged: await failure(
    new IoTClient({
      maxAttempts: 1,
      credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: 'wrong' },
    }).send(new ListThingsCommand({})),
  ),
};

// The signed data plane: on the API port, and on the port where ALPN decides (Node offers http/1.1).
const message = { topic, qos: 1, contentType: 'text/plain', userProperties: JSON.stringify([{ from: 'javascript' }]) };
const planes = { api: new IoTDataPlaneClient({ maxAttempts: 1 }) };
planes.alpn = new IoTDataPlaneClient({ maxAttempts: 1, endpoint: signedEndpoint });
told.published = {};
for (const [port, client] of Object.entries(planes)) {
  const answer = await client.send(new PublishCommand({ ...message, payload: new TextEncoder().encode(port) }));
  told.published[port] = answer.$metadata.httpStatusCode;
}
told.errors.unbuilt = await failure(planes.api.send(new GetRetainedMessageCommand({ topic })));

console.log(JSON.stringify(told));
