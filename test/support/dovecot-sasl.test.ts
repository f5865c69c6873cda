import { createHash, createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dovecotAvailable, startDovecot } from './dovecot.ts';
import type { Dovecot } from './dovecot.ts';
import { RawPop3 } from './raw-pop3.ts';

const PASSWORD = 'alices: pässword';

describe.skipIf(!dovecotAvailable())('Dovecot with SASL (skipped where dovecot-pop3d is not installed)', () => {
  let dovecot: Dovecot;

  beforeAll(async () => {
    dovecot = await startDovecot({ users: { alice: { password: PASSWORD }, bob: { password: 'b' } }, sasl: true });
  });

  afterAll(async () => {
    await dovecot?.close();
  });

  async function open(): Promise<RawPop3> {
    const client = await RawPop3.open({ port: dovecot.port });
    await client.readLine();
    return client;
  }

  it('lists every mechanism', async () => {
    const client = await open();
    const { body } = await client.sendMultiline('CAPA');
    const offered = /^SASL (.*)\r$/m.exec(body.toString())?.[1]?.split(' ').sort();
    const listed = 'CRAM-MD5 EXTERNAL LOGIN OAUTHBEARER PLAIN SCRAM-SHA-1 SCRAM-SHA-256 XOAUTH2';
    expect(offered).toEqual(listed.split(' '));
    client.close();
  });

  it('takes PLAIN, with and without an initial response', async () => {
    const oneStep = await open();
    expect(await oneStep.send(`AUTH PLAIN ${encode(`\0alice\0${PASSWORD}`)}`)).toMatch(/^\+OK/);
    const twoStep = await open();
    expect(await twoStep.send('AUTH PLAIN')).toBe('+ ');
    expect(await twoStep.send(encode(`\0alice\0${PASSWORD}`))).toMatch(/^\+OK/);
    const wrong = await open();
    expect(await wrong.send(`AUTH PLAIN ${encode('\0alice\0wrong')}`)).toMatch(/^-ERR \[AUTH\]/);
    for (const client of [oneStep, twoStep, wrong]) client.close();
  });

  it('takes what never sends the password: CRAM-MD5, APOP and SCRAM', async () => {
    const cram = await open();
    const challenge = decode(await cram.send('AUTH CRAM-MD5'));
    const digest = createHmac('md5', PASSWORD).update(challenge).digest('hex');
    expect(await cram.send(encode(`alice ${digest}`))).toMatch(/^\+OK/);

    const apop = await RawPop3.open({ port: dovecot.port });
    const stamp = /<.+>/.exec(await apop.readLine())?.[0];
    const stamped = createHash('md5').update(`${stamp}${PASSWORD}`).digest('hex');
    expect(await apop.send(`APOP alice ${stamped}`)).toMatch(/^\+OK/);

    for (const mechanism of ['SCRAM-SHA-1', 'SCRAM-SHA-256']) {
      const scram = await open();
      const serverFirst = decode(await scram.send(`AUTH ${mechanism} ${encode('n,,n=alice,r=abcdefgh')}`));
      expect(serverFirst).toMatch(/^r=abcdefgh.+,s=.+,i=\d+$/);
      scram.close();
    }
    for (const client of [cram, apop]) client.close();
  });

  it('takes the access token of a user, and answers another with a challenge before the refusal', async () => {
    const { accessToken } = dovecot.credentials('alice');
    const xoauth2 = (token: string) => `AUTH XOAUTH2 ${encode(`user=alice\x01auth=Bearer ${token}\x01\x01`)}`;
    const bearer = (token: string) => `AUTH OAUTHBEARER ${encode(`n,a=alice,\x01auth=Bearer ${token}\x01\x01`)}`;
    for (const command of [xoauth2, bearer]) {
      const right = await open();
      expect(await right.send(command(accessToken))).toMatch(/^\+OK/);
      const wrong = await open();
      expect(JSON.parse(decode(await wrong.send(command('expired'))))).toHaveProperty('status');
      expect(await wrong.send(encode('\x01'))).toMatch(/^-ERR \[AUTH\]/);
      const anothers = await open();
      const refusal = await anothers.send(command(dovecot.credentials('bob').accessToken));
      expect(refusal).not.toMatch(/^\+OK/);
      for (const client of [right, wrong, anothers]) client.close();
    }
  });

  it('takes EXTERNAL from one who shows a certificate, and the others go on without', async () => {
    const { certificate } = dovecot.credentials('alice');
    const shown = await RawPop3.open({ port: dovecot.tlsPort, ca: dovecot.ca, certificate });
    await shown.readLine();
    expect(await shown.send(`AUTH EXTERNAL =`)).toMatch(/^\+OK/);
    const bare = await RawPop3.open({ port: dovecot.tlsPort, ca: dovecot.ca });
    await bare.readLine();
    expect(await bare.send(`AUTH EXTERNAL ${encode('alice')}`)).toMatch(/^-ERR/);
    expect(await bare.send(`AUTH PLAIN ${encode(`\0alice\0${PASSWORD}`)}`)).toMatch(/^\+OK/);
    for (const client of [shown, bare]) client.close();
  });
});

function encode(plain: string): string {
  return Buffer.from(plain).toString('base64');
}

/** What a line `+ challenge` says. */
function decode(line: string): string {
  expect(line).toMatch(/^\+ /);
  return Buffer.from(line.slice(2), 'base64').toString();
}
