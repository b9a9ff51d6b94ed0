// One handshake of Node's tls module: port=, name=, alpn=, versions=TLSv1.2.
import tls from "node:tls";

const given = Object.fromEntries(process.argv.slice(2).map((argument) => argument.split("=")));
console.log(`${process.version} (OpenSSL ${process.versions.openssl})`);
if (given.port) {
  const options = { host: "127.0.0.1", port: Number(given.port), servername: given.name, rejectUnauthorized: false };
  if (given.alpn) options.ALPNProtocols = [given.alpn];
  if (given.versions) options.minVersion = options.maxVersion = given.versions;
  const socket = tls.connect(options, () => socket.destroy());
  socket.on("error", () => process.exit(1));
}
