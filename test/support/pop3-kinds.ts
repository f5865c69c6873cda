/**
 * The kinds of POP3 server that one suite of behaviours runs against: our fake one, the sandbox, Dovecot and Courier, each in
 * the clear, by STLS and under TLS. It knows how to start them and what they offer, not how they are to behave.
 */

import type { Pop3Settings, TlsMode } from '../../src/pop3/index.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startSandboxPop3 } from '../../src/sandbox/pop3-server.ts';
import { makeCertificates } from './certificates.ts';
import { courierAvailable, startCourier } from './courier.ts';
import { dovecotAvailable, startDovecot } from './dovecot.ts';
import { startFakePop3 } from './fake-pop3.ts';

/** Of every maildrop; what a space, a colon and an umlaut break, it breaks. */
const PASSWORD = 'right: with, signs ü';

/** With CRLF line ends, as servers hold them: kinds of mail, and what is hard on the wire. */
export const MAILS: readonly Buffer[] = [
  ...sandboxMails().map(({ raw }) => raw),
  Buffer.from('Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n'),
  Buffer.from('Subject: bytes\r\n\r\n\x01\x7f\x80\xff\r\n', 'latin1'),
  Buffer.from('Subject: no body\r\n\r\n'),
  Buffer.from(`Subject: a long line\r\n\r\n${'.'.repeat(300_000)}\r\n`),
  Buffer.from(`Subject: many lines\r\n\r\n${'.\r\n..x\r\n\r\n'.repeat(30_000)}`),
];

export interface Pop3Server {
  /** Settings of a maildrop that holds MAILS, and that nobody else uses. Throws when they are used up. */
  maildrop(): Promise<Pop3Settings>;
  close(): Promise<void>;
}

export interface Pop3Kind {
  readonly name: string;
  readonly skip: boolean;
  /** The lines of CAPA before the login, under TLS where that is on, and after it; in any order. */
  readonly capabilities: { readonly before: readonly string[]; readonly after: readonly string[] };
  start(maildrops: number): Promise<Pop3Server>;
}

const MODES: readonly (readonly [name: string, tls: TlsMode])[] = [
  ['', 'none'],
  [', STLS', 'starttls'],
  [', TLS', 'implicit'],
];
const FAKE = ['TOP', 'UIDL', 'USER', 'RESP-CODES', 'PIPELINING'];
const SANDBOX = [...FAKE, 'AUTH-RESP-CODE', 'IMPLEMENTATION popbridge-sandbox'];
const DOVECOT = ['CAPA', 'TOP', 'UIDL', 'RESP-CODES', 'PIPELINING', 'AUTH-RESP-CODE'];
const COURIER = [
  'SASL PLAIN LOGIN CRAM-MD5',
  'TOP',
  'USER',
  'LOGIN-DELAY 10',
  'PIPELINING',
  'UIDL',
  'UTF8 USER',
  'IMPLEMENTATION Courier Mail Server',
];

export const KINDS: readonly Pop3Kind[] = [
  ...MODES.map(([name, tls]) => ({
    name: `the fake server${name}`,
    skip: false,
    capabilities: { before: FAKE, after: FAKE },
    start: () => startFakes(tls),
  })),
  { name: 'the sandbox server', skip: false, capabilities: { before: SANDBOX, after: SANDBOX }, start: startSandboxes },
  ...MODES.map(([name, tls]) => ({
    name: `Dovecot${name} (skipped where it is not installed)`,
    skip: !dovecotAvailable(),
    // How to log in, and STLS, are of no use to who is known by now.
    capabilities: { before: [...DOVECOT, 'USER', 'SASL PLAIN', ...stls(tls)], after: DOVECOT },
    start: (maildrops: number) => startReal(tls, startDovecot, maildrops),
  })),
  ...MODES.map(([name, tls]) => ({
    name: `Courier${name} (skipped where it is not unpacked)`,
    skip: !courierAvailable(),
    capabilities: { before: [...COURIER, ...stls(tls)], after: [...COURIER, ...stls(tls)] },
    start: (maildrops: number) => startReal(tls, startCourier, maildrops),
  })),
];

function stls(tls: TlsMode): string[] {
  return tls === 'none' ? ['STLS'] : [];
}

/** A server of its own for each maildrop. */
async function startFakes(tls: TlsMode): Promise<Pop3Server> {
  const certificates = await makeCertificates();
  const opened: { close(): Promise<void> }[] = [];
  return {
    async maildrop() {
      const secured = tls !== 'none' && { tls: certificates.server, implicitTls: tls === 'implicit' };
      const account = { user: 'u', password: PASSWORD };
      const server = await startFakePop3({ account, mails: MAILS, ...secured });
      opened.push(server);
      const { host, port } = server;
      return { host, port, tls, username: 'u', password: PASSWORD, ca: certificates.ca };
    },
    async close() {
      for (const server of opened) await server.close();
      await certificates.remove();
    },
  };
}

async function startSandboxes(): Promise<Pop3Server> {
  const opened: { close(): Promise<void> }[] = [];
  return {
    async maildrop() {
      const server = await startSandboxPop3({ user: 'u', password: PASSWORD, mails: MAILS });
      opened.push(server);
      return { host: server.host, port: server.port, tls: 'none', username: 'u', password: PASSWORD };
    },
    async close() {
      for (const server of opened) await server.close();
    },
  };
}

async function startReal(
  tls: TlsMode,
  launch: typeof startCourier | typeof startDovecot,
  maildrops: number,
): Promise<Pop3Server> {
  const free = Array.from({ length: maildrops }, (_, index) => `u${index + 1}`);
  const users = Object.fromEntries(free.map((user) => [user, { password: PASSWORD, mails: MAILS }]));
  const server = await launch({ users });
  const { host, ca } = server;
  const port = tls === 'implicit' ? server.tlsPort : server.port;
  return {
    async maildrop() {
      const username = free.pop();
      if (username === undefined) throw new Error('More maildrops are wanted than were asked for.');
      return { host, port, tls, username, password: PASSWORD, ca };
    },
    close: () => server.close(),
  };
}
