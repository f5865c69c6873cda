import { connect } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { startSandboxPop3 } from '../../src/sandbox/pop3-server.ts';
import type { SandboxPop3, SandboxPop3Options } from '../../src/sandbox/pop3-server.ts';
import { RawPop3 } from '../support/raw-pop3.ts';

const MAILS = [
  Buffer.from('Subject: one\r\n\r\n.\r\n..two\r\nlast\r\n'),
  Buffer.from('Subject: two\r\n\r\nbody\r\n'),
  Buffer.from('Subject: three\n\nbare line ends, and none at the end'),
];
const CANONICAL_THIRD = 'Subject: three\r\n\r\nbare line ends, and none at the end\r\n';

describe('the sandbox POP3 server', () => {
  const opened: { close(): unknown }[] = [];

  afterEach(async () => {
    for (const one of opened.splice(0).toReversed()) await one.close();
  });

  async function start(options: Partial<SandboxPop3Options> = {}): Promise<SandboxPop3> {
    const server = await startSandboxPop3({ user: 'demo', password: 'a b:c', mails: MAILS, ...options });
    opened.push(server);
    return server;
  }

  async function open(server: SandboxPop3): Promise<RawPop3> {
    const client = await RawPop3.open(server);
    opened.push(client);
    expect(await client.readLine()).toMatch(/^\+OK/);
    return client;
  }

  async function logIn(server: SandboxPop3): Promise<RawPop3> {
    const client = await open(server);
    await client.send('USER demo');
    expect(await client.send('PASS a b:c')).toBe('+OK maildrop has 3 messages');
    return client;
  }

  it('announces what it can do, before and after login', async () => {
    const client = await logIn(await start());
    const { body } = await client.sendMultiline('CAPA');
    expect(body.toString().trimEnd().split('\r\n')).toEqual([
      'TOP',
      'UIDL',
      'USER',
      'RESP-CODES',
      'AUTH-RESP-CODE',
      'PIPELINING',
      'IMPLEMENTATION popbridge-sandbox',
    ]);
  });

  it('counts, lists and sends what it holds, byte for byte', async () => {
    const client = await logIn(await start());
    const sizes = [MAILS[0]?.length, MAILS[1]?.length, CANONICAL_THIRD.length] as number[];
    expect(await client.send('STAT')).toBe(`+OK 3 ${sizes.reduce((sum, size) => sum + size)}`);
    expect(String((await client.sendMultiline('LIST')).body)).toBe(sizes.map((s, i) => `${i + 1} ${s}\r\n`).join(''));
    expect(await client.send('list 2')).toBe(`+OK 2 ${sizes[1]}`);
    expect((await client.sendMultiline('RETR 1')).body).toEqual(MAILS[0]);
    expect(String((await client.sendMultiline('RETR 3')).body)).toBe(CANONICAL_THIRD);
    expect(String((await client.sendMultiline('TOP 1 2')).body)).toBe('Subject: one\r\n\r\n.\r\n..two\r\n');
    expect(String((await client.sendMultiline('TOP 2 0')).body)).toBe('Subject: two\r\n\r\n');
  });

  it('stuffs dots', async () => {
    const client = await logIn(await start());
    client.write('RETR 1\r\nQUIT\r\n');
    expect(String(await client.readToEnd())).toContain('\r\n\r\n..\r\n...two\r\nlast\r\n.\r\n+OK');
  });

  it('derives unique-ids from the content, the same after a restart', async () => {
    const before = await listUidls(await logIn(await start()));
    expect(new Set(before).size).toBe(3);
    expect(before.every((uidl) => /^[\x21-\x7e]{1,70}$/.test(uidl))).toBe(true);
    expect(await listUidls(await logIn(await start({ mails: MAILS.toReversed() })))).toEqual(before.toReversed());
  });

  it('deletes at QUIT and not before', async () => {
    const server = await start();
    const client = await logIn(server);
    expect(await client.send('DELE 1')).toMatch(/^\+OK/);
    expect(await client.send('DELE 1')).toMatch(/^-ERR/);
    expect(await client.send('RETR 1')).toMatch(/^-ERR/);
    expect(String((await client.sendMultiline('LIST')).body)).not.toMatch(/^1 /m);
    expect(server.messageCount()).toBe(3);
    expect(await client.send('QUIT')).toMatch(/^\+OK/);
    await client.readToEnd();
    expect(server.messageCount()).toBe(2);
  });

  it('deletes nothing after RSET, and nothing when the connection is lost', async () => {
    const server = await start();
    const forgiving = await logIn(server);
    await forgiving.send('DELE 1');
    await forgiving.send('RSET');
    await forgiving.send('QUIT');
    await forgiving.readToEnd();
    const lost = await logIn(server);
    await lost.send('DELE 1');
    lost.close();
    await expect.poll(() => canLogIn(server)).toBe(true);
    expect(server.messageCount()).toBe(3);
  });

  it('gives the maildrop to one session at a time', async () => {
    const server = await start();
    const first = await logIn(server);
    const second = await open(server);
    await second.send('USER demo');
    expect(await second.send('PASS a b:c')).toMatch(/^-ERR \[IN-USE\]/);
    await first.send('QUIT');
    await second.send('USER demo');
    expect(await second.send('PASS a b:c')).toMatch(/^\+OK/);
  });

  it('answers a wrong user as it does a wrong password, and hangs up after three', async () => {
    const client = await open(await start());
    const answers = [];
    for (const [user, password] of [
      ['nobody', 'a b:c'],
      ['demo', 'wrong'],
      ['demo', 'a b:c '],
    ]) {
      answers.push(await client.send(`USER ${user}`), await client.send(`PASS ${password}`));
    }
    expect(new Set(answers).size).toBe(2);
    expect(answers[1]).toMatch(/^-ERR \[AUTH\]/);
    expect((await client.readToEnd()).length).toBe(0);
  });

  it('refuses what the state does not allow', async () => {
    const client = await open(await start());
    for (const line of ['STAT', 'RETR 1', 'PASS x', '', 'EHLO there']) expect(await client.send(line)).toMatch(/^-ERR/);
    await client.send('USER demo');
    await client.send('PASS a b:c');
    for (const line of [
      'RETR',
      'RETR 0',
      'RETR 4',
      'RETR x',
      'TOP 1',
      'TOP 1 -1',
      'USER demo',
      'DELE 99999999999999',
    ]) {
      expect(await client.send(line)).toMatch(/^-ERR/);
    }
    expect(await client.send('NOOP')).toBe('+OK');
  });

  it('answers commands that come all at once, or byte by byte, in order', async () => {
    const session = 'USER demo\r\nPASS a b:c\r\nSTAT\r\nRETR 2\r\nQUIT\r\n';
    const server = await start();
    const atOnce = await open(server);
    atOnce.write(session);
    const whole = String(await atOnce.readToEnd());
    expect(whole).toMatch(
      /^\+OK now.*\r\n\+OK maildrop.*\r\n\+OK 3 .*\r\n\+OK 22 octets\r\n[^]*\r\n\.\r\n\+OK bye\r\n$/,
    );
    const byBytes = await open(server);
    for (const byte of session) byBytes.write(byte);
    expect(String(await byBytes.readToEnd())).toBe(whole);
  });

  it('reads no further commands from a client that does not read its answers', async () => {
    const big = Buffer.from(`Subject: big\r\n\r\n${'x'.repeat(1_000)}\r\n`.repeat(1_000));
    const server = await start({ mails: [big, big, big] });
    const client = await logIn(server);
    client.write('RETR 1\r\n'.repeat(50));
    for (let n = 0; n < 50; n += 1) {
      expect(await client.readLine()).toMatch(/^\+OK/);
      expect((await client.readBody()).equals(big)).toBe(true);
    }
  });

  it('hangs up on a command line over 255 octets, with or without an end', async () => {
    const server = await start();
    const exact = await open(server);
    expect(await exact.send(`NOOP ${'x'.repeat(248)}`)).toBe('-ERR log in first');
    expect(await exact.send(`NOOP ${'x'.repeat(249)}`)).toBe('-ERR command line too long');
    expect((await exact.readToEnd()).length).toBe(0);
    const endless = await open(server);
    endless.write('x'.repeat(255));
    expect(await endless.readLine()).toBe('-ERR command line too long');
  });

  it('ends an idle session without deleting, and frees the maildrop', async () => {
    const server = await start({ limits: { idleTimeoutMs: 50 } });
    const client = await logIn(server);
    await client.send('DELE 1');
    await client.readToEnd().catch(() => {});
    expect(server.messageCount()).toBe(3);
    await expect.poll(() => canLogIn(server)).toBe(true);
  });

  it('closes a connection over its bound without a greeting', async () => {
    const server = await start({ limits: { connectionsMax: 1 } });
    await open(server);
    const over = connect(server.port, server.host);
    over.resume().on('error', () => {});
    await once(over, 'close');
    expect(over.bytesRead).toBe(0);
  });

  it('cuts open sessions when closed, and can be closed twice', async () => {
    const server = await start();
    const client = await logIn(server);
    await server.close();
    await server.close();
    await client.readToEnd().catch(() => {});
    await expect(RawPop3.open(server)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

async function listUidls(client: RawPop3): Promise<string[]> {
  const { body } = await client.sendMultiline('UIDL');
  return Array.from(String(body).matchAll(/^\d+ (.*)\r$/gm), (line) => line[1] ?? '');
}

async function canLogIn(server: SandboxPop3): Promise<boolean> {
  const client = await RawPop3.open(server);
  try {
    await client.readLine();
    await client.send(`USER ${server.user}`);
    return (await client.send(`PASS ${server.password}`)).startsWith('+OK');
  } finally {
    client.close();
  }
}
