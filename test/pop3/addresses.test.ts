import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/errors.ts';
import type { AddressResolver, ResolvedAddress } from '../../src/pop3/index.ts';
import { Pop3ConnectionError } from '../../src/pop3/index.ts';
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
});
