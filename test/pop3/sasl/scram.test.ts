import { describe, expect, it } from 'vitest';
import { Pop3CommandError, Pop3ProtocolError } from '../../../src/pop3/index.ts';
import { createMechanism, type Credentials, type Mechanism, type SaslContext } from '../../../src/pop3/sasl/index.ts';
import {
  scramIterationsMax,
  scramIterationsMin,
  scramNonceCharsMax,
  scramSaltBytesMax,
  scramSaltBytesMin,
} from '../../../src/pop3/sasl/limits.ts';
import { bytes, context, fixedNonce, ScramServer } from './context.ts';

const NONCE = 'fyko+d2lbbFgONRv9qkxdawL';
const SERVER_FIRST = `r=${NONCE}3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096`;
const SIGNATURE = 'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=';
const CREDENTIALS: Credentials = { kind: 'password', username: 'user', password: 'pencil' };

function make(more: Partial<SaslContext> = {}, credentials: Credentials = CREDENTIALS): Mechanism {
  return createMechanism('SCRAM-SHA-1', credentials, { ...context, ...fixedNonce(NONCE), ...more });
}

const salt = (octets: number): string => Buffer.alloc(octets, 1).toString('base64');

describe('a first message of the server is refused', () => {
  it.each([
    ['empty', ''],
    ['no SCRAM at all', '<1896.697170952@postoffice.reston.mci.net>'],
    ['our nonce alone, as a replay would have', `r=${NONCE},s=QSXCR+Q6sek8bf92,i=4096`],
    ['a nonce of its own', 'r=3rfcNHYJY1ZVvWVs7j3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096'],
    ['a nonce that only contains ours', `r=x${NONCE}x,s=QSXCR+Q6sek8bf92,i=4096`],
    ['a nonce beyond its bound', `r=${NONCE}${'x'.repeat(scramNonceCharsMax)},s=QSXCR+Q6sek8bf92,i=4096`],
    ['a nonce with a control character', `r=${NONCE}\x07x,s=QSXCR+Q6sek8bf92,i=4096`],
    ['an extension that must be understood', `m=new,${SERVER_FIRST}`],
    ['2^31 iterations', `r=${NONCE}x,s=QSXCR+Q6sek8bf92,i=2147483648`],
    ['one iteration over the bound', `r=${NONCE}x,s=QSXCR+Q6sek8bf92,i=${scramIterationsMax + 1}`],
    ['one iteration under it', `r=${NONCE}x,s=QSXCR+Q6sek8bf92,i=${scramIterationsMin - 1}`],
    ['no iteration', `r=${NONCE}x,s=QSXCR+Q6sek8bf92,i=0`],
    ['negative iterations', `r=${NONCE}x,s=QSXCR+Q6sek8bf92,i=-4096`],
    ['iterations that are no number', `r=${NONCE}x,s=QSXCR+Q6sek8bf92,i=4096e3`],
    ['a salt over the bound', `r=${NONCE}x,s=${salt(scramSaltBytesMax + 1)},i=4096`],
    ['a salt under it', `r=${NONCE}x,s=${salt(scramSaltBytesMin - 1)},i=4096`],
    ['a salt that is no base64', `r=${NONCE}x,s=*,i=4096`],
    ['its last message', SIGNATURE],
  ])('with %s', async (_, challenge) => {
    const scram = make();
    scram.start();
    await expect(async () => scram.respond(bytes(challenge))).rejects.toThrow(Pop3ProtocolError);
    expect(scram.complete).toBe(false);
    expect(() => scram.finish()).toThrow(/did not prove/);
  });

  it('without a derivation being started for it', async () => {
    const started = performance.now();
    await expect(async () => make().respond(bytes(`r=${NONCE}x,s=QSXCR+Q6sek8bf92,i=2147483647`))).rejects.toThrow(
      /2147483647 SCRAM iterations/,
    );
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

it('the event loop turns while a key is derived', async () => {
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 1);
  await make().respond(bytes(`r=${NONCE}x,s=QSXCR+Q6sek8bf92,i=200000`));
  clearInterval(timer);
  expect(turns).toBeGreaterThan(3);
});

describe('a login does not count', () => {
  it.each([
    ['a signature of another length', 'v=rmF9'],
    ['a signature with one bit changed', 'v=rmF9pqV8S7suAoZWja4dJRkFsKU='],
    ['no signature', ''],
    ['a word', 'welcome'],
    ['our own proof sent back', 'v=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts='],
  ])('when the server ends with %s', async (_, challenge) => {
    const scram = make();
    await scram.respond(bytes(SERVER_FIRST));
    expect(() => scram.respond(bytes(challenge))).toThrow(Pop3ProtocolError);
    expect(() => scram.finish()).toThrow(/did not prove by SCRAM-SHA-1 that it knows the password/);
  });

  it('when the server leaves its signature out', async () => {
    const scram = make();
    await scram.respond(bytes(SERVER_FIRST));
    expect(scram.complete).toBe(true);
    expect(() => scram.finish()).toThrow(Pop3ProtocolError);
  });

  it('when the server accepts after an error of its own', async () => {
    const scram = make();
    await scram.respond(bytes(SERVER_FIRST));
    expect(await scram.respond(bytes('e=other-error'))).toEqual(bytes(''));
    expect(() => scram.finish()).toThrow(Pop3ProtocolError);
  });

  it('when the server signs with another password', async () => {
    const server = new ScramServer({ hash: 'sha1', password: 'another' });
    const scram = make();
    const proof = await scram.respond(server.first(scram.start()!));
    expect(server.final(proof)).toEqual(bytes('e=invalid-proof'));
  });
});

describe('an error of the server', () => {
  it.each([
    ['e=unknown-user', 'upstream_auth_failed', 'unknown-user'],
    ['e=invalid-proof,x=y', 'upstream_auth_failed', 'invalid-proof'],
    ['e=no-resources', 'upstream_unavailable', 'no-resources'],
    ['e=is it \x1b[31mpencil?', 'upstream_auth_failed', String.raw`is it \u001b[31m[redacted]?`],
  ])('%j becomes a failure to throw at -ERR', async (challenge, code, text) => {
    const scram = make();
    await scram.respond(bytes(SERVER_FIRST));
    expect(await scram.respond(bytes(challenge))).toEqual(bytes(''));
    expect(scram.failure).toBeInstanceOf(Pop3CommandError);
    expect(scram.failure).toMatchObject({
      code,
      message: `mail.example:995 refused SCRAM-SHA-1: "${text}".`,
    });
    expect(() => scram.respond(bytes(''))).toThrow(/does not end/);
  });

  it.each(['server-does-support-channel-binding', 'channel-bindings-dont-match'])(
    'e=%s, the sign of somebody between, ends the session',
    async (error) => {
      const scram = make();
      await scram.respond(bytes(SERVER_FIRST));
      expect(() => scram.respond(bytes(`e=${error}`))).toThrow(Pop3ProtocolError);
    },
  );
});

describe('channel binding', () => {
  const binding = { type: 'tls-exporter', data: Buffer.alloc(32, 7) } as const;

  it.each([
    ['SCRAM-SHA-1-PLUS', 'sha1'],
    ['SCRAM-SHA-256-PLUS', 'sha256'],
  ] as const)('%s satisfies a server that checks it', async (name, hash) => {
    const server = new ScramServer({ hash, password: 'pencil', binding });
    const scram = createMechanism(name, CREDENTIALS, { ...context, binding });
    expect(scram.start()!.toString()).toMatch(/^p=tls-exporter,,n=user,r=.{24}$/);
    const proof = await scram.respond(server.first(scram.start()!));
    expect(await scram.respond(server.final(proof))).toEqual(bytes(''));
    scram.finish();
  });

  it('of another connection is found out', async () => {
    const server = new ScramServer({ hash: 'sha256', password: 'pencil', binding });
    const elsewhere = { ...binding, data: Buffer.alloc(32, 8) };
    const scram = createMechanism('SCRAM-SHA-256-PLUS', CREDENTIALS, { ...context, binding: elsewhere });
    const proof = await scram.respond(server.first(scram.start()!));
    expect(() => scram.respond(server.final(proof))).toThrow(/different TLS connections/);
  });

  it.each([
    ['y', 'could be had and is not offered, so that a server which did offer it notices', binding, ['SCRAM-SHA-1']],
    ['n', 'is offered and not used', binding, ['SCRAM-SHA-1', 'SCRAM-SHA-256-PLUS']],
    ['n', 'cannot be had', null, ['SCRAM-SHA-1']],
    ['n', 'could be had from a server without CAPA', binding, null],
  ])('is answered for by %s where it %s', (flag, _, binding, sasl) => {
    const scram = make({ binding, offered: sasl && { sasl, user: true } });
    expect(scram.start()).toEqual(bytes(`${flag},,n=user,r=${NONCE}`));
  });

  it('that is stripped from the offer fails at a server that supports it', async () => {
    const server = new ScramServer({ hash: 'sha1', password: 'pencil', binding });
    const scram = make({ binding, offered: { sasl: ['SCRAM-SHA-1'], user: true } });
    const proof = await scram.respond(server.first(scram.start()!));
    expect(() => scram.respond(server.final(proof))).toThrow(Pop3ProtocolError);
  });

  it('is demanded of a connection that gives none', () => {
    expect(() => createMechanism('SCRAM-SHA-1-PLUS', CREDENTIALS, context)).toThrow(/needs channel binding/);
  });
});

describe('names and passwords', () => {
  it('are prepared and escaped', () => {
    const scram = make({}, { kind: 'password', username: 'a=b,c\u00adI\u2168', password: 'x', authzid: 'o,p' });
    expect(scram.start()?.toString()).toBe(`n,a=o=2Cp,n=a=3Db=2CcIIX,r=${NONCE}`);
  });

  it.each(['', 'pen\0cil', 'pen\u202ecil'])(
    'that SCRAM prohibits are refused before anything is sent: %j',
    (password) => {
      expect(() => make({}, { kind: 'password', username: 'user', password })).toThrow(
        expect.objectContaining({ code: 'upstream_auth_failed', message: expect.stringContaining('RFC 4013') }),
      );
    },
  );

  it('meet a nonce that differs each time', () => {
    const nonces = Array.from({ length: 20 }, () =>
      createMechanism('SCRAM-SHA-1', CREDENTIALS, context).start()?.toString(),
    );
    expect(new Set(nonces).size).toBe(20);
  });
});
