import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { courierAvailable, startCourier } from './courier.ts';
import { RawPop3 } from './raw-pop3.ts';
import { findFreePorts } from './server-process.ts';
import type { MailServer, Ports } from './server-process.ts';

const MAILS = [1, 2, 3].map((n) => Buffer.from(`Subject: mail ${n}\r\n\r\n.a dot\r\nand ${n}\r\n`));
const PASSWORD = 's3cret: with, signs|= ü';

describe.skipIf(!courierAvailable())('Courier (skipped where it is not unpacked, or without root)', () => {
  let courier: MailServer;

  beforeAll(async () => {
    courier = await startCourier({
      users: { alice: { password: PASSWORD, mails: MAILS }, bob: { password: 'b', mails: MAILS } },
    });
  });

  afterAll(async () => {
    await courier?.close();
  });

  it('serves the mails in order and lets them go after QUIT alone', async () => {
    const client = await greeted({ port: courier.port });
    await logIn(client, 'alice', PASSWORD);
    expect(await client.send('LIST 2')).toBe(`+OK 2 ${MAILS[1]?.length}`);
    expect((await client.sendMultiline('RETR 2')).body).toEqual(MAILS[1]);
    expect(await client.send('DELE 2')).toMatch(/^\+OK/);
    expect(await courier.maildir('alice')).toEqual(MAILS);
    expect(await client.send('QUIT')).toMatch(/^\+OK/);
    await client.readToEnd();
    expect(await courier.maildir('alice')).toEqual([MAILS[0], MAILS[2]]);
  });

  it('serves over TLS from the first byte', async () => {
    const client = await greeted({ port: courier.tlsPort, ca: courier.ca });
    await logIn(client, 'bob', 'b');
    expect((await client.sendMultiline('RETR 1')).body).toEqual(MAILS[0]);
    client.close();
  });

  it('goes over to TLS by STLS', async () => {
    const client = await greeted({ port: courier.port });
    expect(await client.send('STLS')).toMatch(/^\+OK/);
    await client.startTls(courier.ca);
    await logIn(client, 'bob', 'b');
    expect(await client.send('STAT')).toMatch(/^\+OK 3 /);
    client.close();
  });

  it('says what it is and what it can do', async () => {
    const client = await greeted({ port: courier.port });
    const { body } = await client.sendMultiline('CAPA');
    const offered = [
      'IMPLEMENTATION Courier Mail Server',
      'PIPELINING',
      'SASL PLAIN LOGIN CRAM-MD5',
      'STLS',
      'UTF8 USER',
    ];
    expect(body.toString().split('\r\n')).toEqual(expect.arrayContaining(offered));
    client.close();
  });

  it('takes SASL PLAIN, with and without an initial response, LOGIN and CRAM-MD5', async () => {
    const plain = Buffer.from(`\0alice\0${PASSWORD}`).toString('base64');
    const oneStep = await greeted({ port: courier.port });
    expect(await oneStep.send(`AUTH PLAIN ${plain}`)).toMatch(/^\+OK/);
    const twoStep = await greeted({ port: courier.port });
    expect(await twoStep.send('AUTH PLAIN')).toMatch(/^\+ /);
    expect(await twoStep.send(plain)).toMatch(/^\+OK/);
    const login = await greeted({ port: courier.port });
    expect(await login.send('AUTH LOGIN')).toMatch(/^\+ /);
    expect(await login.send(Buffer.from('alice').toString('base64'))).toMatch(/^\+ /);
    expect(await login.send(Buffer.from(PASSWORD).toString('base64'))).toMatch(/^\+OK/);
    const cram = await greeted({ port: courier.port });
    const challenge = Buffer.from((await cram.send('AUTH CRAM-MD5')).slice(2), 'base64');
    const answer = `alice ${createHmac('md5', PASSWORD).update(challenge).digest('hex')}`;
    expect(await cram.send(Buffer.from(answer).toString('base64'))).toMatch(/^\+OK/);
    for (const client of [oneStep, twoStep, login, cram]) client.close();
  });

  it('shows mail delivered while it runs to the next session, after what was there', async () => {
    const late = Buffer.from('Subject: late\r\n\r\nlate\r\n');
    await courier.deliver('bob', late);
    const client = await greeted({ port: courier.port });
    await logIn(client, 'bob', 'b');
    expect((await client.sendMultiline('RETR 4')).body).toEqual(late);
    client.close();
  });

  it('takes other ports when one that it found was taken meanwhile, beside another Courier', async () => {
    const taken: Ports[] = [
      { ...(await findFreePorts()), port: courier.port },
      { ...(await findFreePorts()), tlsPort: courier.tlsPort },
    ];
    const free = await findFreePorts();
    const other = await startCourier({
      users: { carol: { password: 'c' } },
      findPorts: async () => taken.shift() ?? free,
    });
    expect(other).toMatchObject(free);
    const client = await greeted({ port: other.port });
    await logIn(client, 'carol', 'c');
    client.close();
    await other.close();
    expect(await isListening(free.port)).toBe(false);
  });

  it('ends with the process that started it, even with one that is killed', async () => {
    const module = fileURLToPath(new URL('courier.ts', import.meta.url));
    const script = `
      const { startCourier } = await import(${JSON.stringify(module)});
      const { port } = await startCourier({ users: {} });
      process.stdout.write(String(port));`;
    const folder = await mkdtemp(join(tmpdir(), 'popbridge-courier-owner-')); // What is killed leaves its own.
    await chmod(folder, 0o711);
    const owner = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, TMPDIR: folder },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void owner.kill('SIGKILL'));
    const [port] = (await once(owner.stdout, 'data')) as [Buffer];
    expect(await isListening(Number(port))).toBe(true);
    owner.kill('SIGKILL');
    await vi.waitFor(async () => expect(await isListening(Number(port))).toBe(false), 5_000);
    await rm(folder, { recursive: true, maxRetries: 10 });
  });
});

async function greeted(place: { port: number; ca?: string }): Promise<RawPop3> {
  const client = await RawPop3.open(place);
  expect(await client.readLine()).toMatch(/^\+OK/);
  return client;
}

async function logIn(client: RawPop3, user: string, password: string): Promise<void> {
  expect(await client.send(`USER ${user}`)).toMatch(/^\+OK/);
  expect(await client.send(`PASS ${password}`)).toMatch(/^\+OK/);
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
