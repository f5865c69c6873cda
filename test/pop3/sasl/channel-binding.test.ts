import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type SecureVersion, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMechanism, readChannelBinding, type BindingSource } from '../../../src/pop3/sasl/index.ts';
import { makeCertificates, type Certificates } from '../../support/certificates.ts';
import { bytes, context, ScramServer } from './context.ts';

let certificates: Certificates;
beforeAll(async () => {
  certificates = await makeCertificates();
});
afterAll(async () => certificates.remove());

/** Both ends of one TLS connection, whose handshake is through. */
async function withTls<T>(
  version: SecureVersion,
  use: (client: TLSSocket, server: TLSSocket) => Promise<T>,
): Promise<T> {
  const { cert, key } = certificates.server;
  const listener = createServer({ cert, key, minVersion: version, maxVersion: version }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const accepted = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
  const client = connect({ port: (listener.address() as AddressInfo).port, host: '127.0.0.1', ca: certificates.ca });
  try {
    await once(client, 'secureConnect');
    const [server] = await accepted;
    server.on('error', () => {});
    return await use(client, server).finally(() => server.destroy());
  } finally {
    client.destroy();
    listener.close();
  }
}

/** The same certificate for both ends: the server reads its own. */
function serverSide(server: TLSSocket): BindingSource {
  return {
    getProtocol: () => server.getProtocol(),
    exportKeyingMaterial: (length, label, data) => server.exportKeyingMaterial(length, label, data),
    isSessionReused: () => server.isSessionReused(),
    getFinished: () => server.getPeerFinished(),
    getPeerFinished: () => server.getFinished(),
    getPeerX509Certificate: () => new X509Certificate(certificates.server.cert),
  };
}

describe('the two ends of a connection have the same binding, and each connection its own', () => {
  it.each([
    ['TLSv1.3', undefined, 'tls-exporter', 32],
    ['TLSv1.2', undefined, 'tls-unique', 12],
    ['TLSv1.3', 'tls-server-end-point', 'tls-server-end-point', 32],
    ['TLSv1.2', 'tls-server-end-point', 'tls-server-end-point', 32],
  ] as const)('%s, asked for %s: %s', async (version, wanted, type, octets) => {
    const read = async (): Promise<string> =>
      withTls(version, async (client, server) => {
        const binding = readChannelBinding(client, wanted);
        expect(binding).toMatchObject({ type, data: expect.any(Buffer) });
        expect(binding?.data).toHaveLength(octets);
        expect(readChannelBinding(serverSide(server), wanted)).toEqual(binding);
        return binding!.data.toString('hex');
      });
    const [one, other] = [await read(), await read()];
    if (type !== 'tls-server-end-point') expect(one).not.toBe(other);
  });

  it('by which SCRAM-SHA-256-PLUS logs in over TLS 1.3', async () => {
    await withTls('TLSv1.3', async (client, socket) => {
      const server = new ScramServer({
        hash: 'sha256',
        password: 'pencil',
        binding: readChannelBinding(serverSide(socket))!,
      });
      const scram = createMechanism(
        'SCRAM-SHA-256-PLUS',
        { kind: 'password', username: 'u', password: 'pencil' },
        { ...context, binding: readChannelBinding(client) },
      );
      const proof = await scram.respond(server.first(scram.start()!));
      expect(await scram.respond(server.final(proof))).toEqual(bytes(''));
      scram.finish();
    });
  });
});

describe('a connection gives no binding', () => {
  const source: BindingSource = {
    getProtocol: () => 'TLSv1.2',
    exportKeyingMaterial: () => Buffer.alloc(32),
    isSessionReused: () => false,
    getFinished: () => undefined,
    getPeerFinished: () => undefined,
    getPeerX509Certificate: () => undefined,
  };

  it('where Node has no Finished message or certificate', () => {
    expect(readChannelBinding(source)).toBeNull();
    expect(readChannelBinding(source, 'tls-server-end-point')).toBeNull();
  });

  it('of a type that is unsafe or undefined in its version of TLS', () => {
    expect(readChannelBinding(source, 'tls-exporter')).toBeNull();
    const tls13 = { ...source, getProtocol: () => 'TLSv1.3', getFinished: () => Buffer.alloc(32) };
    expect(readChannelBinding(tls13, 'tls-unique')).toBeNull();
  });

  it.each([
    ['sha256WithRSAEncryption', 'sha256'],
    ['ecdsa-with-SHA384', 'sha384'],
    ['RSA-SHA512', 'sha512'],
    ['sha1WithRSAEncryption', 'sha256'],
    ['md5WithRSAEncryption', 'sha256'],
    ['ED25519', null],
    ['rsassaPss', null],
    ['RSA-SHA3-256', null],
    [undefined, null],
  ])('of the certificate, signed by %s, but by the hash that RFC 5929 names: %s', (signatureAlgorithm, hash) => {
    const raw = bytes('certificate');
    const binding = readChannelBinding(
      { ...source, getPeerX509Certificate: () => ({ raw, signatureAlgorithm }) },
      'tls-server-end-point',
    );
    expect(binding?.data ?? null).toEqual(hash && createHash(hash).update(raw).digest());
  });
});

it('a resumed session of TLS 1.2 is bound by the first Finished message, which is the server’s', () => {
  const source: BindingSource = {
    getProtocol: () => 'TLSv1.2',
    exportKeyingMaterial: () => Buffer.alloc(32),
    isSessionReused: () => true,
    getFinished: () => bytes('client'),
    getPeerFinished: () => bytes('server'),
    getPeerX509Certificate: () => undefined,
  };
  expect(readChannelBinding(source)?.data).toEqual(bytes('server'));
});
