/** A certificate authority for one test run, and certificates of it and of none, good and bad. Made with the openssl command. */

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface ServerCertificate {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  readonly certPath: string;
  readonly keyPath: string;
}

export interface Certificates {
  /** PEM of the authority that signed all but the self-signed one. */
  readonly ca: string;
  readonly caPath: string;
  /** For localhost and 127.0.0.1. */
  readonly server: ServerCertificate;
  /** For the same names, expired in 2021. */
  readonly expired: ServerCertificate;
  /** Valid, for elsewhere.example.com and bücher.example. */
  readonly otherName: ServerCertificate;
  /** For localhost and 127.0.0.1, signed by nobody else. */
  readonly selfSigned: ServerCertificate;
  /** For a client. Its key is in `clientKeyEncrypted` once more, under the passphrase `open sesame`. */
  readonly client: ServerCertificate;
  readonly clientKeyEncrypted: string;
  /** Removes the folder that the paths are in. */
  remove(): Promise<void>;
}

const LOOPBACK = 'DNS:localhost,IP:127.0.0.1';

/** `openssl ca` is the one subcommand of every openssl in use that can sign for a time gone by. */
const CA_CONFIG = `
[ca]
default_ca = test
[test]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any_name
copy_extensions = copy
unique_subject = no
[any_name]
commonName = supplied
`;

export async function makeCertificates(): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-certificates-'));
  const openssl = (...args: string[]) => run('openssl', args, { cwd: folder });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

  async function issue(name: string, names: string, start: string, end: string): Promise<ServerCertificate> {
    const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`];
    await openssl('req', ...newKey, ...subject, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    const dates = ['-startdate', start, '-enddate', end];
    const files = ['-in', `${name}.csr`, '-out', `${name}.pem`];
    const signer = ['-config', 'ca.cnf', '-cert', 'ca.pem', '-keyfile', 'ca.key'];
    await openssl('ca', '-batch', '-notext', ...signer, ...dates, ...files);
    return read(name);
  }

  async function issueSelfSigned(name: string, names: string): Promise<ServerCertificate> {
    const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`];
    await openssl('req', '-x509', ...newKey, ...subject, '-keyout', `${name}.key`, '-out', `${name}.pem`);
    return read(name);
  }

  async function read(name: string): Promise<ServerCertificate> {
    const [certPath, keyPath] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
    return { cert: await readFile(certPath, 'utf8'), key: await readFile(keyPath, 'utf8'), certPath, keyPath };
  }

  try {
    await writeFile(join(folder, 'ca.cnf'), CA_CONFIG);
    await writeFile(join(folder, 'index.txt'), '');
    await openssl(
      'req',
      '-x509',
      ...newKey,
      '-subj',
      '/CN=popbridge test',
      '-days',
      '30',
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
    );
    // One after the other: `openssl ca` rewrites its database.
    const server = await issue('server', LOOPBACK, '20200101000000Z', '20491231235959Z');
    const expired = await issue('expired', LOOPBACK, '20200101000000Z', '20210101000000Z');
    const elsewhere = 'DNS:elsewhere.example.com,DNS:xn--bcher-kva.example';
    const otherName = await issue('other-name', elsewhere, '20200101000000Z', '20491231235959Z');
    const client = await issue('client', 'email:client@example.com', '20200101000000Z', '20491231235959Z');
    await openssl('pkey', '-in', 'client.key', '-aes256', '-passout', 'pass:open sesame', '-out', 'encrypted.key');
    const clientKeyEncrypted = await readFile(join(folder, 'encrypted.key'), 'utf8');
    const selfSigned = await issueSelfSigned('self-signed', LOOPBACK);
    const caPath = join(folder, 'ca.pem');
    const ca = await readFile(caPath, 'utf8');
    return { ca, caPath, server, expired, otherName, selfSigned, client, clientKeyEncrypted, remove };
  } catch (error) {
    await remove();
    throw error;
  }

  async function remove(): Promise<void> {
    await rm(folder, { recursive: true, force: true });
  }
}
