import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Pop3Client, Pop3Error } from '../../src/pop3/index.ts';
import { startFakePop3 } from '../support/fake-pop3.ts';
import { readAll } from './fake-session.ts';

const STEPS: Readonly<Record<string, (client: Pop3Client) => Promise<unknown>>> = {
  CAPA: (client) => client.capa(),
  PASS: (client) => client.login(),
  STAT: (client) => client.stat(),
  LIST: (client) => client.list(),
  UIDL: (client) => client.uidl(),
  RETR: async (client) => readAll(await client.retrieve(1)),
  DELE: (client) => client.delete(1),
  QUIT: (client) => client.quit(),
};

/** Bytes, some of them such as a server might say. */
const answer = fc
  .array(
    fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.constantFrom('+OK', '-ERR [', ' 1 2', '\r\n', '\n', '.', '.\r\n')),
  )
  .map((parts) => Buffer.concat(parts.map((part) => Buffer.from(part as string))));

it('whatever a server answers, a command ends: with a result or an error of the client', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom('greeting', ...Object.keys(STEPS)), answer, async (command, bytes) => {
      const reply = { bytes, after: 'close' as const };
      const fake = await startFakePop3(
        command === 'greeting' ? { greeting: reply } : { on: { [command]: () => reply } },
      );
      const { host, port } = fake;
      try {
        const client = await Pop3Client.connect({ host, port, tls: 'none', username: 'u', password: 'p' });
        await STEPS[command]?.(client).finally(() => client.close());
        client.close();
      } catch (error) {
        expect(error).toBeInstanceOf(Pop3Error);
      }
      await fake.idle();
      await fake.close();
    }),
    { numRuns: 300 },
  );
});
