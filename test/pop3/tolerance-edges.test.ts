/** Where tolerance has an edge: octets that are no ASCII, answers cut short, blank lines that belong to none. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeCertificates } from '../support/certificates.ts';
import { connect, failureOf, logIn, startFake } from './fake-session.ts';

describe('a unique-id', () => {
  it.each(['\xc3\xa0', '\xe0b', '\xff\xa0'])(
    'in other octets than ASCII are the same one by one as in the list: %j',
    async (uidl) => {
      const one = Buffer.from(`+OK 1 ${uidl}\r\n`, 'latin1');
      const client = await logIn(
        await startFake({
          on: { 'UIDL 1': () => one, UIDL: () => Buffer.from(`+OK\r\n1 ${uidl}\r\n.\r\n`, 'latin1') },
        }),
      );
      expect((await client.uidl())?.get(1)).toBe(uidl);
      expect((await client.uidlOne(1)).uidl).toBe(uidl);
      expect((await client.uidlEach([1]).next()).value).toEqual({ number: 1, uidl });
    },
  );
});

describe('a server that goes away', () => {
  it('in the middle of its answer to the password has not refused it without a word', async () => {
    const fake = await startFake({ on: { PASS: () => ({ bytes: Buffer.from('+O'), after: 'close' }) } });
    const failure = await failureOf((await connect(fake)).login());
    expect(failure).toMatchObject({ code: 'upstream_closed', phase: 'login', isRetryable: true });
  });
});

describe('a blank line behind an answer', () => {
  it('does no more harm than one in front of the next', async () => {
    const client = await logIn(
      await startFake({ on: { PASS: (_args, session) => (session.logIn(), Buffer.from('+OK\r\n\r\n')) } }),
    );
    await client.noop();
  });
});

describe('a blank line behind the answer to STLS', () => {
  it('would be read as if it had come under TLS, and ends the session', async () => {
    const certificates = await makeCertificates();
    onTestFinished(() => certificates.remove());
    const fake = await startFake({ tls: certificates.server, on: { STLS: () => Buffer.from('+OK\r\n\r\n') } });
    const failure = await failureOf(connect(fake, { tls: 'starttls', ca: certificates.ca }));
    expect(failure).toMatchObject({ code: 'upstream_protocol_error', phase: 'tls' });
    expect(failure.message).toContain('before the TLS handshake');
    await fake.idle();
  });
});
