import { describe, expect, it } from 'vitest';
import { Pop3CommandError, Pop3ProtocolError } from '../../../src/pop3/index.ts';
import {
  createMechanism,
  encodeAuthCommand,
  encodeResponse,
  parseChallenge,
  runExchange,
  type Credentials,
  type ExchangeOutcome,
  type MechanismName,
} from '../../../src/pop3/sasl/index.ts';
import { authLineBytesMax, challengeLineBytesMax, responseLineBytesMax } from '../../../src/pop3/sasl/limits.ts';
import { bytes, context, ScramServer } from './context.ts';

const PASSWORD: Credentials = { kind: 'password', username: 'u', password: 'p' };
const TOKEN: Credentials = { kind: 'token', username: 'u', accessToken: 'tok-en' };
const base64 = (text: string): string => bytes(text).toString('base64');
const CRAM = base64('<1@x>');

/** Runs an exchange against a list of answers. */
async function run(
  name: MechanismName,
  answers: readonly string[],
  { inline = true, credentials = PASSWORD, secrets = [] as readonly string[] } = {},
): Promise<{ lines: string[]; secrets: string[]; outcome: ExchangeOutcome; failure: Error | null }> {
  const lines: string[] = [];
  const shown: string[] = [];
  const mechanism = createMechanism(name, credentials, context);
  const send = async (line: string, secret: string): Promise<Buffer> => {
    lines.push(line);
    shown.push(secret);
    const answer = answers[lines.length - 1];
    if (answer === undefined) throw new Error(`unexpected line ${line}`);
    return bytes(answer);
  };
  try {
    const outcome = await runExchange(mechanism, { place: context.place, secrets, inline, send });
    return { lines, secrets: shown, outcome, failure: mechanism.failure };
  } catch (error) {
    throw Object.assign(error as Error, { lines });
  }
}

describe('the AUTH command', () => {
  /** A response whose base64 has this many characters. */
  const initial = (chars: number): Buffer => Buffer.alloc((chars / 4) * 3);

  it('carries the initial response up to 255 octets with CRLF, and not one more', () => {
    const room = authLineBytesMax - 'AUTH PLAINX \r\n'.length; // 241: the next multiple of 4 below is 240.
    const fits = encodeAuthCommand('PLAINX', initial(room - 1), true);
    expect(fits.line).toHaveLength(authLineBytesMax - 2 - 1);
    expect(fits.rest).toBeNull();
    const exact = encodeAuthCommand('PLAINXY', initial(240), true);
    expect(exact.line).toHaveLength(authLineBytesMax - 2);
    expect(encodeAuthCommand('PLAINXYZ', initial(240), true)).toEqual({
      line: 'AUTH PLAINXYZ',
      secret: '',
      rest: initial(240).toString('base64'),
    });
  });

  it('says = for an empty initial response, and nothing where the server speaks first or refuses one', () => {
    expect(encodeAuthCommand('EXTERNAL', bytes(''), true)).toEqual({ line: 'AUTH EXTERNAL =', secret: '', rest: null });
    expect(encodeAuthCommand('LOGIN', null, true)).toEqual({ line: 'AUTH LOGIN', secret: '', rest: null });
    expect(encodeAuthCommand('PLAIN', bytes('\0test\0test'), true).line).toBe('AUTH PLAIN AHRlc3QAdGVzdA==');
    expect(encodeAuthCommand('PLAIN', bytes('\0test\0test'), false)).toEqual({
      line: 'AUTH PLAIN',
      secret: '',
      rest: 'AHRlc3QAdGVzdA==',
    });
  });

  it('is not begun with what is too long to end it', () => {
    expect(encodeResponse(initial(responseLineBytesMax))).toHaveLength(responseLineBytesMax);
    expect(() => encodeResponse(initial(responseLineBytesMax + 4))).toThrow(Pop3CommandError);
    expect(() => encodeAuthCommand('PLAIN', initial(responseLineBytesMax + 4), true)).toThrow(/too long/);
  });
});

describe('an answer within an exchange', () => {
  it.each([
    [`+ ${base64('abc')}`, 'abc'],
    [`+  \t${base64('abcd')} `, 'abcd'],
    ['+', ''],
    ['+ ', ''],
    ['+ =', ''],
    ['+ go ahead!', ''],
    ['+ welcome', ''],
  ])('%j is a challenge', (line, challenge) => {
    expect(parseChallenge(bytes(line), false)?.toString()).toBe(challenge);
    expect(parseChallenge(bytes(line), true)?.toString()).toBe(challenge);
  });

  it.each([
    [`+OK ${base64('abc')}`, 'abc'],
    ['+OK', ''],
    ['+ok send it', ''],
  ])('%j is one where no success is possible yet', (line, challenge) => {
    expect(parseChallenge(bytes(line), true)?.toString()).toBe(challenge);
    expect(parseChallenge(bytes(line), false)).toBeNull();
  });

  it.each(['', '-ERR', '-ERR + x', 'x', ' + x', '++', '+OKAY', '* x'])('%j is none', (line) => {
    expect(parseChallenge(bytes(line), true)).toBeNull();
  });
});

describe('an exchange', () => {
  it.each<[string, MechanismName, boolean, string[], string[]]>([
    ['one line', 'PLAIN', true, ['+OK'], ['AUTH PLAIN AHUAcA==']],
    ['two steps', 'PLAIN', false, ['+ ', '+OK in'], ['AUTH PLAIN', 'AHUAcA==']],
    ['bare + in two steps', 'PLAIN', false, ['+', '+OK in'], ['AUTH PLAIN', 'AHUAcA==']],
    ['+OK for + in two steps', 'PLAIN', false, ['+OK send it', '+OK in'], ['AUTH PLAIN', 'AHUAcA==']],
    ['a server that overlooks the initial response', 'PLAIN', true, ['+ ', '+OK'], ['AUTH PLAIN AHUAcA==', 'AHUAcA==']],
    ['LOGIN', 'LOGIN', true, ['+ VXNlcm5hbWU6', '+ UGFzc3dvcmQ6', '+OK'], ['AUTH LOGIN', 'dQ==', 'cA==']],
    ['LOGIN with +OK for +', 'LOGIN', true, ['+OK VXNlcm5hbWU6', '+OK go on', '+OK'], ['AUTH LOGIN', 'dQ==', 'cA==']],
  ])('%s', async (_, name, inline, answers, lines) => {
    const ran = await run(name, answers, { inline });
    expect(ran.lines).toEqual(lines);
    expect(ran.outcome).toMatchObject({ reply: { ok: true }, credentialsSent: true });
  });

  it('tells a refusal of the name from one of the credentials', async () => {
    const refused = '-ERR [AUTH] no';
    expect((await run('CRAM-MD5', [refused])).outcome.credentialsSent).toBe(false);
    expect((await run('PLAIN', [refused], { inline: false })).outcome.credentialsSent).toBe(false);
    expect((await run('PLAIN', [refused])).outcome.credentialsSent).toBe(true);
    const cram = await run('CRAM-MD5', [`+ ${CRAM}`, refused]);
    expect(cram.outcome).toMatchObject({ reply: { ok: false, responseCode: 'AUTH' }, credentialsSent: true });
    expect(Buffer.from(cram.lines[1]!, 'base64').toString()).toMatch(/^u [0-9a-f]{32}$/);
  });

  it('takes CRAM-MD5 from a server that writes +OK for +, and +OK behind the answer for success', async () => {
    expect((await run('CRAM-MD5', [`+OK ${CRAM}`, '+OK'])).outcome.reply.ok).toBe(true);
  });

  it.each<[string, MechanismName, string, Credentials]>([
    ['XOAUTH2', 'XOAUTH2', '', TOKEN],
    ['OAUTHBEARER', 'OAUTHBEARER', 'AQ==', TOKEN],
  ])("answers the error of %s, and has the server's reason at -ERR", async (_, name, acknowledgement, credentials) => {
    const error = base64('{"status":"401","schemes":"bearer","scope":"https://mail.example/"}');
    const { lines, outcome, failure } = await run(name, [`+ ${error}`, '-ERR [AUTH] no'], { credentials });
    expect(lines[1]).toBe(acknowledgement);
    expect(outcome.reply.ok).toBe(false);
    expect(failure).toMatchObject({
      code: 'upstream_auth_failed',
      message:
        'mail.example:995 refused the access token: status "401", schemes "bearer", scope "https://mail.example/". Get a new one, and see that it is for this user and allows POP3.',
      fields: { status: '401', schemes: 'bearer', scope: 'https://mail.example/' },
    });
  });

  it('does not count when the server accepts a token that it has refused', async () => {
    const refused = `+ ${base64('{"status":"401"}')}`;
    await expect(run('XOAUTH2', [refused, '+OK'], { credentials: TOKEN })).rejects.toThrow(Pop3ProtocolError);
  });

  it('does not count when the server accepts without the signature that SCRAM makes it give', async () => {
    const server = new ScramServer({ hash: 'sha256', password: 'p' });
    const send = async (line: string): Promise<Buffer> => {
      const clientFirst = /^AUTH SCRAM-SHA-256 (.*)$/.exec(line)?.[1];
      if (clientFirst === undefined) return bytes('+OK in');
      return bytes(`+ ${server.first(Buffer.from(clientFirst, 'base64')).toString('base64')}`);
    };
    const scram = createMechanism('SCRAM-SHA-256', PASSWORD, context);
    await expect(runExchange(scram, { place: context.place, secrets: [], inline: true, send })).rejects.toThrow(
      /did not prove by SCRAM-SHA-256/,
    );
  });

  it('sends a long token after the command', async () => {
    const credentials: Credentials = { ...TOKEN, accessToken: 't'.repeat(5000) };
    const { lines } = await run('XOAUTH2', ['+ ', '+OK'], { credentials });
    expect(lines[0]).toBe('AUTH XOAUTH2');
    expect(lines[1]?.length).toBeGreaterThan(5000);
  });

  it.each<[string, MechanismName, string[], RegExp]>([
    ['no end of challenges', 'LOGIN', ['+', '+', '+', '-ERR'], /asks for more than LOGIN/],
    ['a challenge that is not due', 'PLAIN', ['+ abcd', '-ERR'], /asks for more than PLAIN/],
    ['success before the digest', 'CRAM-MD5', ['+OK welcome', '-ERR'], /sent no challenge/],
    ['success before the proof', 'SCRAM-SHA-256', ['+OK welcome', '-ERR'], /cannot be read/],
    [
      'a line beyond its bound',
      'CRAM-MD5',
      [`+ ${'A'.repeat(challengeLineBytesMax)}`, '-ERR'],
      /more than 4096 octets/,
    ],
  ])('is cancelled by * at %s', async (_, name, answers, message) => {
    const error = await run(name, answers).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(Pop3ProtocolError);
    expect((error as Error).message).toMatch(message);
    expect((error as { lines?: string[] }).lines?.at(-1)).toBe('*');
  });

  it('ends with an error at an answer that is none, which is quoted without what was sent', async () => {
    await expect(run('PLAIN', ['500 what is AHUAcA== or p4ss?'], { secrets: ['p4ss'] })).rejects.toThrow(
      'answered PLAIN with neither +, +OK nor -ERR: "500 what is [redacted] or [redacted]?"',
    );
  });

  it('names the secret part of each line, and only that', async () => {
    expect((await run('PLAIN', ['+OK'])).secrets).toEqual(['AHUAcA==']);
    expect((await run('PLAIN', ['+', '+OK'], { inline: false })).secrets).toEqual(['', 'AHUAcA==']);
    expect((await run('LOGIN', ['+', '+', '+OK'])).secrets).toEqual(['', 'dQ==', 'cA==']);
  });

  it('passes on why a line could not be sent', async () => {
    await expect(run('LOGIN', ['+'])).rejects.toThrow('unexpected line dQ==');
  });
});

describe('credentials that would break a message apart are refused', () => {
  it.each<[MechanismName, Credentials]>([
    ['PLAIN', { kind: 'password', username: 'a\0b', password: 'p' }],
    ['PLAIN', { kind: 'password', username: 'a', password: 'p\0' }],
    ['EXTERNAL', { kind: 'external', authzid: 'a\0' }],
    ['XOAUTH2', { kind: 'token', username: 'a\x01auth=Bearer other', accessToken: 't' }],
    ['OAUTHBEARER', { kind: 'token', username: 'a\0', accessToken: 't' }],
    ['XOAUTH2', { kind: 'token', username: 'a', accessToken: 't\x01x' }],
    ['XOAUTH2', { kind: 'token', username: 'a', accessToken: '' }],
    ['OAUTHBEARER', { kind: 'token', username: 'a', accessToken: 't\u00e4' }],
    ['OAUTHBEARER', PASSWORD],
    ['PLAIN', TOKEN],
  ])('%s of %j', (name, credentials) => {
    expect(() => createMechanism(name, credentials, context)).toThrow(Pop3CommandError);
  });
});
