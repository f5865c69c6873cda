import { existsSync } from 'node:fs';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificates } from './certificates.ts';
import type { Certificates, ServerCertificate } from './certificates.ts';

describe('the test certificates', () => {
  let certificates: Certificates;

  beforeAll(async () => {
    certificates = await makeCertificates();
  });

  afterAll(async () => {
    await certificates.remove();
  });

  /** The verdict of a client that trusts the authority and asks for `servername`, or the address where none is given. */
  async function verify(certificate: ServerCertificate, servername?: string): Promise<string> {
    const server = createServer({ key: certificate.key, cert: certificate.cert }, (socket) => socket.end());
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const name = servername === undefined ? {} : { servername };
    const client = connect({ host: '127.0.0.1', port, ca: certificates.ca, ...name });
    try {
      await once(client, 'secureConnect');
      return 'trusted';
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? String(error);
    } finally {
      client.destroy();
      server.close();
    }
  }

  it('are trusted for localhost and for 127.0.0.1', async () => {
    expect(await verify(certificates.server, 'localhost')).toBe('trusted');
    expect(await verify(certificates.server)).toBe('trusted');
  });

  it('are refused when expired', async () => {
    expect(await verify(certificates.expired, 'localhost')).toBe('CERT_HAS_EXPIRED');
  });

  it('are refused for another name', async () => {
    expect(await verify(certificates.otherName, 'localhost')).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
  });

  it('leave no folder behind', async () => {
    const other = await makeCertificates();
    expect(existsSync(other.server.keyPath)).toBe(true);
    await other.remove();
    expect(existsSync(other.server.keyPath)).toBe(false);
  });
});
