import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificates } from './certificates.ts';
import type { Certificates } from './certificates.ts';
import { cutBody, startFakePop3 } from './fake-pop3.ts';
import type { FakePop3, FakePop3Options } from './fake-pop3.ts';
import { RawPop3 } from './raw-pop3.ts';

const MAILS = ['Subject: one\r\n\r\n.dot\r\n', 'Subject: two\r\n\r\nbody\r\n'];

describe('the fake POP3 server', () => {
  const opened: { close(): unknown }[] = [];

  afterEach(async () => {
    for (const one of opened.splice(0).toReversed()) await one.close();
  });

  async function start(options: FakePop3Options): Promise<FakePop3> {
    const fake = await startFakePop3(options);
    opened.push(fake);
    return fake;
  }

  async function open(fake: FakePop3, ca?: string): Promise<RawPop3> {
    const client = await RawPop3.open({ port: fake.port, ...(ca === undefined ? {} : { ca }) });
    opened.push(client);
    return client;
  }

  async function logIn(fake: FakePop3): Promise<RawPop3> {
    const client = await open(fake);
    await client.readLine();
    await client.send('USER u');
    expect(await client.send('PASS p')).toBe('+OK logged in');
    return client;
  }

  it('answers correctly where it is not told to lie', async () => {
    const fake = await start({ mails: MAILS });
    const client = await logIn(fake);
    expect(await client.send('STAT')).toBe('+OK 2 44');
    expect((await client.sendMultiline('UIDL')).body.toString()).toBe('1 uid-1\r\n2 uid-2\r\n');
    expect((await client.sendMultiline('RETR 1')).body.toString()).toBe(MAILS[0]);
    await client.send('DELE 1');
    expect(await client.send('QUIT')).toBe('+OK bye');
    expect((await client.readToEnd()).length).toBe(0);
    expect(fake.mails.map(({ uidl }) => uidl)).toEqual(['uid-2']);
    expect(fake.commands).toEqual(['USER u', 'PASS p', 'STAT', 'UIDL', 'RETR 1', 'DELE 1', 'QUIT']);
  });

  it('dribbles one byte at a time', async () => {
    const fake = await start({ mails: MAILS, chunkBytes: 1 });
    const client = await logIn(fake);
    expect((await client.sendMultiline('RETR 1')).body.toString()).toBe(MAILS[0]);
    const bytes = client.readSizes.reduce((sum, size) => sum + size, 0);
    // The kernel may join a few on a busy machine.
    expect(client.readSizes.length).toBeGreaterThan(bytes / 2);
  });

  it('lets a script answer by line, by command or anything, and by connection', async () => {
    const fake = await start({
      mails: MAILS,
      on: {
        'RETR 2': () => '-ERR not this one',
        RETR: (args, { connection }) => (connection === 1 ? `-ERR ${args} not now` : undefined),
        '*': (_, { authenticated }) => (authenticated ? '-ERR what?' : undefined),
      },
    });
    const first = await logIn(fake);
    expect(await first.send('retr 2')).toBe('-ERR not this one');
    expect(await first.send('RETR 1')).toBe('-ERR 1 not now');
    expect(await first.send('NOOP')).toBe('-ERR what?');
    const second = await logIn(fake);
    expect((await second.sendMultiline('RETR 1')).body.toString()).toBe(MAILS[0]);
    expect(fake.connections).toBe(2);
  });

  it('cuts a body after so many bytes', async () => {
    const fake = await start({ mails: MAILS, on: { RETR: () => cutBody(Buffer.from(MAILS[0] ?? ''), 17, 'close') } });
    const client = await logIn(fake);
    await client.send('RETR 1');
    expect(String(await client.readToEnd())).toBe('Subject: one\r\n\r\n.');
    await fake.idle();
  });

  it('resets a connection', async () => {
    const fake = await start({ on: { STAT: () => 'reset' } });
    const client = await logIn(fake);
    await expect(client.send('STAT')).rejects.toMatchObject({ code: 'ECONNRESET' });
    await fake.idle();
    expect(fake.openSockets).toBe(0);
  });

  it('greets with whatever it is told to, or closes at once', async () => {
    const smtp = await open(await start({ greeting: '220 smtp.example.com ESMTP' }));
    expect(await smtp.readLine()).toBe('220 smtp.example.com ESMTP');
    const hasty = await open(await start({ greeting: '+OK a slow greeting', chunkBytes: 1 }));
    hasty.write('NOOP\r\n');
    expect(await hasty.readLine()).toBe('+OK a slow greeting');
    expect(await hasty.readLine()).toBe('-ERR log in first');
    const closed = await open(await start({ greeting: 'close' }));
    expect((await closed.readToEnd()).length).toBe(0);
  });

  it('says nothing, and still records what it hears', async () => {
    const silent = await start({ greeting: null, on: { '*': () => 'silence' } });
    const client = await open(silent);
    client.write('CAPA\r\nQUIT\r\n');
    await silent.received('QUIT');
    expect(silent.openSockets).toBe(1);
    client.close();
    await silent.idle();
    expect(client.readSizes).toEqual([]);
  });

  it('holds back one reply and those behind it, and hears what is sent meanwhile', async () => {
    const fake = await start({ mails: MAILS });
    const client = await logIn(fake);
    const hold = fake.hold('RETR 1');
    client.write('NOOP\r\nRETR 1\r\nRETR 2\r\n');
    expect(await client.readLine()).toBe('+OK');
    await hold.reached;
    await fake.received('RETR', 2);
    expect(client.readSizes.length).toBe(4);
    hold.release();
    expect(await client.readLine()).toMatch(/^\+OK/);
    expect(String(await client.readBody())).toBe(MAILS[0]);
    expect(await client.readLine()).toMatch(/^\+OK/);
    expect(String(await client.readBody())).toBe(MAILS[1]);
  });

  it('checks the password when it has one', async () => {
    const fake = await start({ account: { user: 'u', password: 'right' } });
    const client = await open(fake);
    await client.readLine();
    await client.send('USER u');
    expect(await client.send('PASS wrong')).toMatch(/^-ERR \[AUTH\]/);
    expect(await client.send('STAT')).toBe('-ERR log in first');
  });

  it('tells the test what a handler threw', async () => {
    const fake = await startFakePop3({
      on: {
        NOOP: () => {
          throw new Error('the test is wrong');
        },
      },
    });
    const client = await logIn(fake);
    client.write('NOOP\r\n');
    await client.readToEnd().catch(() => {});
    await expect(fake.close()).rejects.toThrow('the test is wrong');
  });

  describe('with TLS', () => {
    let certificates: Certificates;

    beforeAll(async () => {
      certificates = await makeCertificates();
      return () => certificates.remove();
    });

    it('speaks it from the first byte, in small records if told so', async () => {
      const fake = await start({ tls: certificates.server, implicitTls: true, mails: MAILS, chunkBytes: 3 });
      const client = await open(fake, certificates.ca);
      expect(await client.readLine()).toBe('+OK ready');
      expect((await client.sendMultiline('CAPA')).body.toString()).not.toContain('STLS');
      expect(fake.lines).toEqual([{ connection: 1, line: 'CAPA', tls: true }]);
    });

    it('goes over to it by STLS, and takes nothing along that was sent in the clear', async () => {
      const fake = await start({ tls: certificates.server });
      const client = await open(fake);
      await client.readLine();
      expect((await client.sendMultiline('CAPA')).body.toString()).toContain('STLS\r\n');
      client.write('STLS\r\nUSER injected\r\n');
      expect(await client.readLine()).toMatch(/^\+OK/);
      await client.startTls(certificates.ca);
      expect(await client.send('PASS p')).toBe('+OK logged in');
      expect((await client.sendMultiline('CAPA')).body.toString()).not.toContain('STLS');
      expect(fake.lines.map(({ line, tls }) => `${line} ${tls}`)).toEqual([
        'CAPA false',
        'STLS false',
        'USER injected false',
        'PASS p true',
        'CAPA true',
      ]);
    });

    it('can be reset under TLS, and outlives a client that speaks none', async () => {
      const fake = await start({ tls: certificates.server, implicitTls: true, on: { STAT: () => 'reset' } });
      const plain = await open(fake);
      plain.write('CAPA\r\n');
      await plain.readToEnd().catch(() => {});
      const client = await open(fake, certificates.ca);
      await client.readLine();
      await expect(client.send('STAT')).rejects.toMatchObject({ code: 'ECONNRESET' });
      await fake.idle();
    });
  });
});
