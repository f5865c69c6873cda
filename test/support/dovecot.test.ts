import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dovecotAvailable, startDovecot } from './dovecot.ts';
import type { Dovecot } from './dovecot.ts';
import { RawPop3 } from './raw-pop3.ts';
import type { Ports } from './server-process.ts';

const MAILS = [1, 2, 3].map((n) => Buffer.from(`Subject: mail ${n}\r\n\r\n.a dot\r\nand ${n}\r\n`));

describe.skipIf(!dovecotAvailable())('Dovecot (skipped where dovecot-pop3d is not installed)', () => {
  let dovecot: Dovecot;

  beforeAll(async () => {
    dovecot = await startDovecot({
      users: {
        alice: { password: 's3cret: with, signs', mails: MAILS },
        bob: { password: 'b', mails: MAILS },
      },
    });
  }, 60_000);

  afterAll(async () => {
    await dovecot?.close();
  });

  it('serves the mails in order and lets them go after QUIT alone', async () => {
    const client = await RawPop3.open({ port: dovecot.port });
    expect(await client.readLine()).toMatch(/^\+OK/);
    await logIn(client, 'alice', 's3cret: with, signs');
    expect((await client.sendMultiline('RETR 2')).body).toEqual(MAILS[1]);
    expect(await client.send('DELE 2')).toMatch(/^\+OK/);
    expect(await dovecot.maildir('alice')).toEqual(MAILS);
    expect(await client.send('QUIT')).toMatch(/^\+OK/);
    await client.readToEnd();
    expect(await dovecot.maildir('alice')).toEqual([MAILS[0], MAILS[2]]);
  });

  it('serves over TLS from the first byte', async () => {
    const client = await RawPop3.open({ port: dovecot.tlsPort, ca: dovecot.ca });
    expect(await client.readLine()).toMatch(/^\+OK/);
    await logIn(client, 'bob', 'b');
    expect((await client.sendMultiline('RETR 1')).body).toEqual(MAILS[0]);
    client.close();
  });

  it('goes over to TLS by STLS', async () => {
    const client = await RawPop3.open({ port: dovecot.port });
    await client.readLine();
    expect((await client.sendMultiline('CAPA')).body.toString()).toContain('STLS\r\n');
    expect(await client.send('STLS')).toMatch(/^\+OK/);
    await client.startTls(dovecot.ca);
    await logIn(client, 'bob', 'b');
    expect(await client.send('STAT')).toMatch(/^\+OK 3 /);
    client.close();
  });

  it('shows mail delivered while it runs to the next session, after what was there', async () => {
    const late = Buffer.from('Subject: late\r\n\r\nlate\r\n');
    await dovecot.deliver('bob', late);
    const client = await RawPop3.open({ port: dovecot.port });
    await client.readLine();
    await logIn(client, 'bob', 'b');
    expect((await client.sendMultiline('RETR 4')).body).toEqual(late);
    client.close();
  });

  it('refuses a wrong password without delay and says so by response code', async () => {
    const client = await RawPop3.open({ port: dovecot.port });
    await client.readLine();
    await client.send('USER bob');
    expect(await client.send('PASS wrong')).toMatch(/^-ERR \[AUTH\]/);
    client.close();
  });

  it('takes other ports when those it found were taken meanwhile, and leaves them free when closed', async () => {
    const [occupant, ...spares] = [await listen(), await listen(), await listen()];
    const [port = 0, tlsPort = 0] = spares.map(portOf);
    await Promise.all(spares.map(end));
    const offers: Ports[] = [
      { port: portOf(occupant), tlsPort },
      { port, tlsPort },
    ];
    const other = await startDovecot({
      users: { carol: { password: 'c' } },
      findPorts: async () => offers.shift() ?? { port, tlsPort },
    });
    expect(other).toMatchObject({ port, tlsPort });
    await other.close();
    await end(occupant);
    await end(await listen(port));
  }, 60_000);
});

async function logIn(client: RawPop3, user: string, password: string): Promise<void> {
  expect(await client.send(`USER ${user}`)).toMatch(/^\+OK/);
  expect(await client.send(`PASS ${password}`)).toMatch(/^\+OK/);
}

async function listen(port = 0): Promise<Server> {
  const server = createServer((socket) => socket.destroy()).listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

async function end(server: Server): Promise<void> {
  server.close();
  await once(server, 'close');
}
