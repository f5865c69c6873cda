/** What the tests' Dovecot needs to offer every SASL mechanism: tokens and who knows them, client certificates, settings. */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startTokenIntrospection } from './token-introspection.ts';

export interface SaslCredentials {
  /** For OAUTHBEARER and XOAUTH2. */
  readonly accessToken: string;
  /** PEM, for the TLS handshake before EXTERNAL. */
  readonly certificate: { readonly cert: string; readonly key: string };
}

export interface SaslPlan {
  readonly introspectionUrl: string;
  /** PEM of every user's certificate: each is its own authority. */
  readonly clientCaPath: string;
  /** Of 2.3: where the settings of its oauth2 passdb are. */
  readonly oauth2Path: string;
}

export interface Sasl extends SaslPlan {
  /** Throws for one who is no user. */
  credentials(user: string): SaslCredentials;
  close(): Promise<void>;
}

const PASSWORD_MECHANISMS = 'plain login cram-md5 scram-sha-1 scram-sha-256 apop';
const TOKEN_MECHANISMS = 'oauthbearer xoauth2';

/** Writes into the folder, and answers Dovecot's questions about tokens until closed. */
export async function prepareSasl(folder: string, users: readonly string[]): Promise<Sasl> {
  const known = new Map<string, SaslCredentials>();
  for (const [index, user] of users.entries()) {
    const certificate = await makeClientCertificate(join(folder, `client-${index}`), user);
    known.set(user, { accessToken: randomBytes(24).toString('base64url'), certificate });
  }
  const clientCaPath = join(folder, 'clients.pem');
  await writeFile(clientCaPath, [...known.values()].map(({ certificate }) => certificate.cert).join(''));
  const introspection = await startTokenIntrospection(
    (token) => [...known].find(([, { accessToken }]) => accessToken === token)?.[0],
  );
  const oauth2Path = join(folder, 'oauth2.conf');
  await writeFile(oauth2Path, renderOauth2(introspection.url));
  return {
    introspectionUrl: introspection.url,
    clientCaPath,
    oauth2Path,
    credentials(user) {
      const credentials = known.get(user);
      if (credentials === undefined) throw new Error(`${user} is no user of this Dovecot.`);
      return credentials;
    },
    close: () => introspection.close(),
  };
}

async function makeClientCertificate(path: string, user: string): Promise<SaslCredentials['certificate']> {
  const [certPath, keyPath] = [`${path}.pem`, `${path}.key`];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const files = ['-keyout', keyPath, '-out', certPath];
  await promisify(execFile)('openssl', ['req', '-x509', ...newKey, '-subj', `/CN=${user}`, '-days', '30', ...files]);
  return { cert: await readFile(certPath, 'utf8'), key: await readFile(keyPath, 'utf8') };
}

function renderOauth2(url: string): string {
  return `
introspection_mode = post
introspection_url = ${url}
username_attribute = username
active_attribute = active
active_value = true
`;
}

/** For 2.3. The passdb for passwords comes after these. */
export function renderSasl({ oauth2Path, clientCaPath }: SaslPlan): string {
  return `
auth_mechanisms = ${PASSWORD_MECHANISMS} ${TOKEN_MECHANISMS} external
ssl_ca = <${clientCaPath}
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_username_from_cert = yes
passdb {
  driver = oauth2
  mechanisms = ${TOKEN_MECHANISMS}
  args = ${oauth2Path}
}
passdb {
  driver = static
  mechanisms = external
  args = nopassword=y
}
`;
}

/** For 2.4, which asks about tokens without a passdb. */
export function renderNewerSasl({ introspectionUrl, clientCaPath }: SaslPlan): string {
  return `
auth_mechanisms = ${PASSWORD_MECHANISMS} ${TOKEN_MECHANISMS} external
ssl_server_ca_file = ${clientCaPath}
ssl_server_require_crl = no
ssl_server_request_client_cert = yes
auth_ssl_username_from_cert = yes
oauth2 {
${renderOauth2(introspectionUrl)}}
passdb static {
  mechanisms_filter = external
  fields {
    nopassword = yes
  }
}
`;
}
