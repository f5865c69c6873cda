/**
 * The POP3 servers of a Thunderbird-style document (`config-v1.1.xml`). It comes from whoever runs the domain: a document type, and
 * so any entity of its own, is refused, and size, elements and nesting are bounded.
 */
import { SaxesParser } from 'saxes';
import type { EmailAddress } from './address.ts';
import { depthMax, documentBytesMax, elementsMax, serversMax, usernameCharsMax } from './limits.ts';

export interface DocumentServer {
  readonly host: string;
  readonly port: number;
  readonly tls: 'implicit' | 'starttls';
  readonly username: string;
  readonly methods: readonly ('password' | 'oauth2')[];
}

/** Why a document cannot be used; the text is ours, without any of the document's. */
export class DocumentError extends Error {}

const TLS: Readonly<Record<string, DocumentServer['tls']>> = { SSL: 'implicit', STARTTLS: 'starttls' };
const METHODS: Readonly<Record<string, DocumentServer['methods'][number]>> = {
  'password-cleartext': 'password',
  plain: 'password',
  'password-encrypted': 'password',
  secure: 'password',
  OAuth2: 'oauth2',
};
const SERVER_PATH = 'clientConfig/emailProvider/incomingServer';

/**
 * In the document's order. Servers without TLS are left out, and those that lack something.
 * @throws DocumentError
 */
export function readClientConfig(bytes: Uint8Array, address: EmailAddress): readonly DocumentServer[] {
  if (bytes.length > documentBytesMax) throw new DocumentError(`It is larger than ${documentBytesMax} bytes.`);
  return readPop3Servers(new TextDecoder().decode(bytes))
    .map((fields) => toServer(fields, address))
    .filter((server) => server !== null)
    .slice(0, serversMax);
}

type Fields = Map<string, string[]>;

function readPop3Servers(text: string): Fields[] {
  const parser = new SaxesParser();
  const servers: Fields[] = [];
  const path: string[] = [];
  let elements = 0;
  let server: Fields | null = null;
  let value = '';
  const refuse = (reason: string): never => {
    throw new DocumentError(reason);
  };
  parser.on('error', () => refuse('It is not well-formed XML.'));
  parser.on('doctype', () => refuse('It has a document type, which is not read.'));
  parser.on('opentag', ({ name, attributes }) => {
    path.push(name);
    elements += 1;
    if (elements > elementsMax || path.length > depthMax) refuse('It has too many elements, or nests too deep.');
    if (elements === 1 && name !== 'clientConfig') refuse('It is no clientConfig document.');
    value = '';
    if (path.join('/') === SERVER_PATH && attributes['type'] === 'pop3') servers.push((server = new Map()));
  });
  const addText = (piece: string): void => void (value += piece);
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', ({ name }) => {
    if (path.length === 4 && server) server.set(name, [...(server.get(name) ?? []), value.trim()]);
    if (path.length === 3) server = null;
    path.pop();
  });
  parser.write(text).close();
  return servers;
}

function toServer(fields: Fields, address: EmailAddress): DocumentServer | null {
  const first = (name: string): string => fields.get(name)?.[0] ?? '';
  const fill = (template: string): string =>
    // A function, as `$&` in an address would mean something.
    template.replaceAll(/%EMAIL(ADDRESS|LOCALPART|DOMAIN)%/g, (_all, part) =>
      part === 'ADDRESS' ? address.text : part === 'DOMAIN' ? address.domain : address.localPart,
    );
  const port = /^\d{1,5}$/.test(first('port')) ? Number(first('port')) : 0;
  const tls = Object.hasOwn(TLS, first('socketType')) ? TLS[first('socketType')] : undefined;
  const host = fill(first('hostname'));
  const username = fill(first('username')) || address.text;
  const isWhole = host !== '' && port >= 1 && port <= 65_535;
  // oxlint-disable-next-line no-control-regex -- what the contract forbids in a user name
  if (!isWhole || !tls || username.length > usernameCharsMax || /[\r\n\u0000]/.test(username)) return null;
  const named = (fields.get('authentication') ?? ['plain'])
    .map((name) => (Object.hasOwn(METHODS, name) ? METHODS[name] : undefined))
    .filter((method) => method !== undefined);
  return named.length === 0 ? null : { host, port, tls, username, methods: [...new Set(named)] };
}
