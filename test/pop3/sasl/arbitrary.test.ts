import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pop3Error } from '../../../src/pop3/index.ts';
import {
  apopCommand,
  createMechanism,
  readApopChallenge,
  runExchange,
  type Credentials,
  type MechanismName,
} from '../../../src/pop3/sasl/index.ts';
import { context, fixedNonce } from './context.ts';

const NONCE = 'fyko+d2lbbFgONRv9qkxdawL';
const SECRET = 'hunter2-correct-horse';
const BY_KIND: Readonly<Record<Credentials['kind'], { credentials: Credentials; names: readonly MechanismName[] }>> = {
  password: {
    credentials: { kind: 'password', username: 'user', password: SECRET },
    names: ['PLAIN', 'LOGIN', 'CRAM-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-256-PLUS'],
  },
  token: {
    credentials: { kind: 'token', username: 'user', accessToken: SECRET },
    names: ['XOAUTH2', 'OAUTHBEARER'],
  },
  external: { credentials: { kind: 'external', authzid: SECRET }, names: ['EXTERNAL'] },
};
const CASES = Object.values(BY_KIND).flatMap(({ credentials, names }) => names.map((name) => ({ name, credentials })));
const CONTEXT = {
  ...context,
  ...fixedNonce(NONCE),
  binding: { type: 'tls-unique', data: Buffer.alloc(12, 1) } as const,
};
/** Lines of a server that never stops asking: past this many it would be without end. */
const LINES_MAX = 8;

/** What a server may put into a challenge: what the mechanisms look for, the secret, noise. */
const challenge = fc
  .array(
    fc.oneof(
      fc.string({ maxLength: 30 }),
      fc.constantFrom(
        'e=',
        'v=',
        'm=',
        `r=${NONCE}`,
        'x,s=QSXCR+Q6sek8bf92,i=4096',
        ',i=99999999999',
        '{"status":',
        `"${SECRET}"`,
        '"schemes":[[[',
        '}',
        'null',
        SECRET,
      ),
    ),
    { maxLength: 5 },
  )
  .map((parts) => parts.join(''));
const line = fc.oneof(
  challenge.map((text) => `+ ${Buffer.from(text).toString('base64')}`),
  challenge.map((text) => `+OK ${Buffer.from(text).toString('base64')}`),
  challenge.map((text) => `+ ${text}`),
  challenge.map((text) => `-ERR ${text}`),
  challenge,
  fc.constantFrom('+', '+ ', '+OK', '-ERR'),
);

describe('whatever a server answers', () => {
  it.each(CASES)('$name ends, with a result or an error of the client', async ({ name, credentials }) => {
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 6 }), fc.boolean(), async (answers, inline) => {
        let sent = 0;
        const send = async (): Promise<Buffer> => {
          sent += 1;
          if (sent > LINES_MAX) throw new Error('The exchange does not end.');
          return Buffer.from(answers[sent % answers.length] ?? '');
        };
        const mechanism = createMechanism(name, credentials, CONTEXT);
        try {
          await runExchange(mechanism, { place: CONTEXT.place, secrets: [SECRET], inline, send });
        } catch (error) {
          expect(error).toBeInstanceOf(Pop3Error);
          expectNoSecret(error);
        }
        expectNoSecret(mechanism);
        expectNoSecret(mechanism.failure);
      }),
      { numRuns: 150 },
    );
  });

  it('a greeting gives a challenge that is safe to hash, or none', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (noise) => {
        const found = readApopChallenge(`ready <${noise}@mail.example>`);
        expect(found === null || /^<[\x21-\x7e]+>$/.test(found)).toBe(true);
      }),
    );
  });
});

describe('a secret is in nothing that is made from it', () => {
  /** Every spelling in which it could stand there. */
  const spellings = [SECRET, ...[0, 1, 2].map((at) => base64Core(SECRET, at))];

  it.each(CASES)('$name: neither in the mechanism nor in what a server provokes by echoing all', async (login) => {
    const mechanism = createMechanism(login.name, login.credentials, CONTEXT);
    const heard: string[] = [];
    const echoes = [
      (text: string) => text,
      (text: string) => `e=${text}`,
      (text: string) => `r=${text}`,
      (text: string) => JSON.stringify({ status: text, schemes: text, scope: text }),
    ];
    for (const echo of echoes) {
      for (const prefix of ['+ ', '-ERR ', '']) {
        const exchange = createMechanism(login.name, login.credentials, CONTEXT);
        const send = async (sentLine: string): Promise<Buffer> => {
          const text = echo(`${SECRET} ${sentLine}`);
          return Buffer.from(prefix === '+ ' ? `+ ${Buffer.from(text).toString('base64')}` : `${prefix}${text}`);
        };
        const options = { place: CONTEXT.place, secrets: [SECRET], inline: true, send };
        const error: unknown = await runExchange(exchange, options).catch((error: unknown) => error);
        if (error instanceof Error) heard.push(show(error));
        heard.push(show(exchange), show(exchange.failure));
      }
    }
    for (const text of [show(mechanism), ...heard]) {
      for (const spelling of spellings) expect(text).not.toContain(spelling);
    }
  });

  it.each(CASES)('$name: not in the error for credentials that cannot be sent', ({ name, credentials }) => {
    const bad = Object.fromEntries(
      Object.entries(credentials).map(([key, value]) => [key, key === 'kind' ? value : `${value}\0\x01\u202e`]),
    ) as unknown as Credentials;
    try {
      createMechanism(name, bad, CONTEXT);
    } catch (error) {
      expect(error).toBeInstanceOf(Pop3Error);
      expectNoSecret(error);
    }
  });

  it('APOP: not in the error for a user name that cannot be sent', () => {
    expect(() => apopCommand({ kind: 'password', username: SECRET + ' ', password: SECRET }, '<a@b>')).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining(SECRET) }),
    );
  });
});

function show(value: unknown): string {
  const own = value instanceof Error ? { message: value.message, stack: value.stack, cause: value.cause } : {};
  return [
    inspect(value, { depth: 10, showHidden: true, getters: true }),
    JSON.stringify(value),
    JSON.stringify(own),
    String(value),
  ].join('\n');
}

function expectNoSecret(value: unknown): void {
  expect(show(value)).not.toContain(SECRET);
}

/** The characters of a base64 text that are the same whatever stands around the secret, which begins at this octet of three. */
function base64Core(secret: string, at: number): string {
  const encoded = Buffer.from(' '.repeat(at) + secret).toString('base64');
  return encoded.slice(4, -4);
}
