import { describe, expect, it } from 'vitest';
import { apopCommand, createMechanism, readApopChallenge, type Credentials } from '../../../src/pop3/sasl/index.ts';
import { saslprep } from '../../../src/pop3/sasl/saslprep.ts';
import { bytes, context, fixedNonce } from './context.ts';

const password = (username: string, secret: string, authzid?: string): Credentials => ({
  kind: 'password',
  username,
  password: secret,
  ...(authzid !== undefined && { authzid }),
});

describe('the examples of the RFCs come out byte for byte', () => {
  it.each([
    ['without an authorization identity', password('tim', 'tanstaaftanstaaf'), '\0tim\0tanstaaftanstaaf'],
    ['with one', password('Kurt', 'xipj3plmq', 'Ursel'), 'Ursel\0Kurt\0xipj3plmq'],
  ])('PLAIN %s (RFC 4616 §4)', (_, credentials, message) => {
    expect(createMechanism('PLAIN', credentials, context).start()).toEqual(bytes(message));
  });

  it('CRAM-MD5 (RFC 2195 §2)', async () => {
    const cram = createMechanism('CRAM-MD5', password('tim', 'tanstaaftanstaaf'), context);
    expect(cram.start()).toBeNull();
    expect(await cram.respond(bytes('<1896.697170952@postoffice.reston.mci.net>'))).toEqual(
      bytes('tim b913a602c7eda7a495b4e6e7334d3890'),
    );
  });

  it.each([
    {
      name: 'SCRAM-SHA-1',
      rfc: '5802 §5',
      nonce: 'fyko+d2lbbFgONRv9qkxdawL',
      serverFirst: 'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
      clientFinal: 'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
      serverFinal: 'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=',
    },
    {
      name: 'SCRAM-SHA-256',
      rfc: '7677 §3',
      nonce: 'rOprNGfwEbeRWgbNEkqO',
      serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
      clientFinal:
        'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
      serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
    },
  ] as const)('$name (RFC $rfc)', async ({ name, nonce, serverFirst, clientFinal, serverFinal }) => {
    const scram = createMechanism(name, password('user', 'pencil'), { ...context, ...fixedNonce(nonce) });
    expect(scram.start()).toEqual(bytes(`n,,n=user,r=${nonce}`));
    expect(await scram.respond(bytes(serverFirst))).toEqual(bytes(clientFinal));
    expect(await scram.respond(bytes(serverFinal))).toEqual(bytes(''));
    expect(() => scram.finish()).not.toThrow();
  });

  it('OAUTHBEARER (RFC 7628 §4.1 and §4.3)', async () => {
    const credentials: Credentials = {
      kind: 'token',
      username: 'user@example.com',
      accessToken: 'vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==',
    };
    const server = { ...context, host: 'server.example.com', port: 143 };
    const oauth = createMechanism('OAUTHBEARER', credentials, server);
    expect(oauth.start()?.toString('base64')).toBe(
      'bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB',
    );
    const challenge =
      'eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNvbmZpZ3VyYXRpb24iOiJodHRwczovL2V4YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWd1cmF0aW9uIn0=';
    expect((await oauth.respond(Buffer.from(challenge, 'base64'))).toString('base64')).toBe('AQ==');
    expect(oauth.failure?.fields).toEqual({ status: 'invalid_token', schemes: null, scope: 'example_scope' });
  });

  it("XOAUTH2 (Google's description of it)", () => {
    const xoauth2 = createMechanism(
      'XOAUTH2',
      { kind: 'token', username: 'someuser@example.com', accessToken: 'ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg' },
      context,
    );
    expect(xoauth2.start()?.toString('base64')).toBe(
      'dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==',
    );
  });

  it('APOP (RFC 1939 §7)', () => {
    const challenge = readApopChallenge('POP3 server ready <1896.697170952@dbc.mtview.ca.us>');
    expect(challenge).toBe('<1896.697170952@dbc.mtview.ca.us>');
    expect(apopCommand({ kind: 'password', username: 'mrose', password: 'tanstaaf' }, challenge!)).toBe(
      'APOP mrose c4c9334bac560ecc979e58001b3e22fb',
    );
  });

  it.each([
    ['I\u00adX', 'IX'],
    ['user', 'user'],
    ['USER', 'USER'],
    ['\u00aa', 'a'],
    ['\u2168', 'IX'],
    ['\u0007', null],
  ])('SASLprep of %j is %j (RFC 4013 §3)', (text, prepared) => {
    expect(saslprep(text)).toBe(prepared);
  });
});

describe('SASLprep', () => {
  it.each([
    ['maps spaces to a space', 'a\u00a0b\u3000c\u2003d', 'a b c d'],
    ['drops what is seen by nobody', 'a\u200db\ufe0fc\ufeffd\u2060', 'abcd'],
    ['composes', 'e\u0301', '\u00e9'],
    ['takes what is unassigned in Unicode 3.2, as a query may', 'p\u{1f600}w', 'p\u{1f600}w'],
    [
      'takes right-to-left text that ends in a digit, as servers do',
      '\u05e9\u05dc\u05d5\u05dd1',
      '\u05e9\u05dc\u05d5\u05dd1',
    ],
  ])('%s', (_, text, prepared) => {
    expect(saslprep(text)).toBe(prepared);
  });

  it.each([
    '',
    '\u00ad',
    'a\0b',
    'a\r\nb',
    'a\u0085b',
    'a\ue000b',
    'a\ufffeb',
    'a\ud800b',
    'a\u202eb',
    'a\ufffdb',
    'a\u{e0041}b',
  ])('prohibits %j', (text) => {
    expect(saslprep(text)).toBeNull();
  });
});
