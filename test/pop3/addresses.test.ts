import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { AppError } from '../../src/errors.ts';
import type { AddressResolver, ResolvedAddress } from '../../src/pop3/index.ts';
import { Pop3ConnectionError } from '../../src/pop3/index.ts';
import { defaultTimeouts } from '../../src/pop3/limits.ts';
import { addressesMax } from '../../src/pop3/limits.ts';
import { resolveAddresses } from '../../src/pop3/transport/addresses.ts';
import { explainAttempts } from '../../src/pop3/transport/tcp.ts';
import { openBlackHole } from '../support/black-hole.ts';
import type { BlackHole } from '../support/black-hole.ts';
import { connect, failureOf, startFake } from './fake-session.ts';

const at = (...addresses: readonly string[]): readonly ResolvedAddress[] =>
  addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

async function unusedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe('the address of the server', () => {
  it.each(['pop.example.com', '127.0.0.1', '192.0.2.1', '::1', '2130706433'])(
    'is what the hook says, and the hook is asked for %s',
    async (host) => {
      const fake = await startFake();
      const asked: unknown[] = [];
      const resolve: AddressResolver = async (...question) => {
        asked.push(question);
        return at('127.0.0.1');
      };
      await connect({ host, port: fake.port }, {}, { resolve });
      expect(asked).toEqual([[host, fake.port]]);
      expect(fake.connections).toBe(1);
    },
  );

  it.each([
    ['127.0.0.2', '127.0.0.1'],
    ['::1', '127.0.0.1'],
    ['127.0.0.2', '::1', '127.0.0.3', '127.0.0.1'],
  ])('may be any of several: refused ones are passed over', async (...addresses) => {
    const fake = await startFake();
    for (const host of ['pop.example.com', '192.0.2.1']) {
      await connect({ host, port: fake.port }, {}, { resolve: async () => at(...addresses) });
    }
    expect(fake.connections).toBe(2);
  });

  it('is none but those of the hook, be the host an address that would answer', async () => {
    const fake = await startFake();
    for (const addresses of [['127.0.0.2'], ['127.0.0.2', '127.0.0.3']]) {
      for (const host of ['127.0.0.1', 'localhost']) {
        const failure = await failureOf(
          connect({ host, port: fake.port }, {}, { resolve: async () => at(...addresses) }),
        );
        expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'connect' });
      }
    }
    expect(fake.connections).toBe(0);
  });

  it('that the hook forbids is not connected to, and the error is the hook’s own', async () => {
    const fake = await startFake();
    const blocked = new AppError('egress_blocked', 'Not there.');
    expect(await failureOf(connect(fake, {}, { resolve: () => Promise.reject(blocked) }))).toBe(blocked);
    expect(fake.connections).toBe(0);
  });

  it('is missing where the hook gives none', async () => {
    const failure = await failureOf(connect(await startFake(), {}, { resolve: async () => [] }));
    expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'resolve' });
  });

  it('comes from the system without a hook, which knows localhost and no name under .invalid', async () => {
    const { port } = await startFake();
    await connect({ host: 'localhost', port });
    const failure = await failureOf(connect({ host: 'no-such-host.invalid', port }));
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'resolve' });
    expect(failure.message).toContain('no-such-host.invalid cannot be resolved');
  });

  it('that refuses is told with the host and the port', async () => {
    const port = await unusedPort();
    const failure = await failureOf(connect({ host: '127.0.0.1', port }));
    expect(failure).toBeInstanceOf(Pop3ConnectionError);
    expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'connect' });
    expect(failure.message).toBe(
      `No connection to 127.0.0.1:${port}: the connection was refused. Check the host and the port.`,
    );
    const several = { resolve: async () => at('127.0.0.2', '::1') };
    const failureOfAll = await failureOf(connect({ host: '::1', port }, {}, several));
    expect(failureOfAll.message).toContain(`No connection to [::1]:${port}: the connection was refused.`);
  });

  it('is an address and never a name, which would be looked up past the hook', async () => {
    const fake = await startFake();
    const named = { resolve: async () => [{ address: 'localhost', family: 4 as const }] };
    const failure = await failureOf(connect(fake, {}, named));
    expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'resolve' });
    expect(fake.connections).toBe(0);
  });

  it.each([
    ['b\u00fccher.example', 'xn--bcher-kva.example'],
    ['[::1]', '::1'],
    ['POP.example.com.', 'POP.example.com.'],
  ])('is asked for by the ASCII form of %s', async (host, asked) => {
    const fake = await startFake();
    const hosts: string[] = [];
    const resolve: AddressResolver = async (host) => {
      hosts.push(host);
      return at('127.0.0.1');
    };
    await connect({ host, port: fake.port }, {}, { resolve });
    expect(hosts).toEqual([asked]);
  });

  it.each(['', 'a b', 'a\r\nQUIT', 'a\0b', 'pop.example.com/', 'user@host', '\u2024', 'a'.repeat(256)])(
    'is not asked for where the host is %j',
    async (host) => {
      const resolve = vi.fn<AddressResolver>();
      const failure = await failureOf(connect({ host, port: 110 }, {}, { resolve }));
      expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'resolve' });
      expect(failure.message).toMatch(/^"[^\r\n\0]*" is no host name/);
      expect(resolve).not.toHaveBeenCalled();
    },
  );

  it.each([0, -1, 65_536, 1.5, Number.NaN])('has no port %d', async (port) => {
    const failure = await failureOf(connect({ host: '127.0.0.1', port }));
    expect(failure).toMatchObject({ code: 'upstream_unreachable', phase: 'connect' });
    expect(failure.message).toContain('a port is a number from 1 to 65535');
  });
});

describe('several addresses', () => {
  /** The sockets that the client opens from here on. */
  function watchSockets(): readonly Socket[] {
    const sockets: Socket[] = [];
    const onSocket = (message: unknown): void => void sockets.push((message as { socket: Socket }).socket);
    subscribe('net.client.socket', onSocket);
    onTestFinished(() => {
      unsubscribe('net.client.socket', onSocket);
    });
    return sockets;
  }

  async function startBlackHole(host: string): Promise<BlackHole> {
    const hole = await openBlackHole(host);
    onTestFinished(() => hole.close());
    return hole;
  }

  it('are tried with the families by turns, the preferred one first, and not without end', async () => {
    const options = { timeouts: defaultTimeouts, signal: new AbortController().signal };
    const endpoint = { host: 'pop.example.com', port: 110 };
    const order = async (...addresses: string[]): Promise<string[]> =>
      (await resolveAddresses(endpoint, async () => at(...addresses), options)).map(({ address }) => address);
    expect(await order('::1', '::2', '::3', '127.0.0.1')).toEqual(['::1', '127.0.0.1', '::2', '::3']);
    expect(await order('127.0.0.1', '127.0.0.2', '::1', '::2')).toEqual(['127.0.0.1', '::1', '127.0.0.2', '::2']);
    const many = Array.from({ length: 300 }, (_, index) => `127.0.0.${index % 255}`);
    expect(await order(...many, '::1')).toHaveLength(addressesMax);
    expect((await order(...many, '::1'))[1]).toBe('::1');
  });

  it('that do not answer hold up the next one for a moment only, and are left alone once one has answered', async () => {
    const hole = await startBlackHole('127.0.0.2');
    const here = await startHere('127.0.0.3', hole.port);
    const sockets = watchSockets();
    const startedMs = performance.now();
    await connect(
      { host: 'pop.example.com', port: hole.port },
      { tls: 'none' },
      { resolve: async () => at('127.0.0.2', '127.0.0.3'), timeouts: { connectMs: 5_000 } },
    );
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    expect(here.accepted).toBe(1);
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, false]);
  });

  it('that all fail are told with their reasons, also when the time is over', async () => {
    const hole = await startBlackHole('127.0.0.2');
    const sockets = watchSockets();
    const options = { resolve: async () => at('127.0.0.4', '127.0.0.2'), timeouts: { connectMs: 400 } };
    const failure = await failureOf(connect({ host: 'pop.example.com', port: hole.port }, {}, options));
    expect(failure).toMatchObject({ code: 'upstream_timeout', phase: 'connect' });
    expect(failure.message).toBe(
      `No connection to pop.example.com:${hole.port} within 0.4 s. Some of its addresses failed before: the connection was refused.`,
    );
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, true]);
  });

  it('are all left at once when the signal aborts', async () => {
    const hole = await startBlackHole('127.0.0.2');
    const sockets = watchSockets();
    const controller = new AbortController();
    const reason = new Error('no longer wanted');
    const resolve: AddressResolver = async () => {
      setImmediate(() => controller.abort(reason));
      return at('127.0.0.2');
    };
    const opening = connect({ host: 'x.example', port: hole.port }, {}, { resolve, signal: controller.signal });
    expect(await failureOf(opening)).toBe(reason);
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true]);
  });

  it('fail with each its own reason', () => {
    const failed = (address: string, code: string): Error => Object.assign(new Error(code), { address, code });
    const refused = [failed('192.0.2.1', 'ECONNREFUSED'), failed('192.0.2.2', 'ECONNREFUSED')];
    expect(explainAttempts(refused)).toBe('the connection was refused');
    expect(explainAttempts([...refused, failed('2001:db8::1', 'ENETUNREACH')])).toBe(
      'the connection was refused (192.0.2.1, 192.0.2.2), there is no route to it (2001:db8::1)',
    );
  });
});

/** A server that greets, at an address of its own. */
async function startHere(host: string, port: number): Promise<{ accepted: number }> {
  const here = { accepted: 0 };
  const server = createServer((socket) => {
    here.accepted += 1;
    socket.on('error', () => {}).resume();
    socket.write('+OK ready\r\n');
  }).listen(port, host);
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
  });
  return here;
}
