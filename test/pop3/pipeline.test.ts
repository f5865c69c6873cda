import { describe, expect, it } from 'vitest';
import { pipelineCommandsMax } from '../../src/pop3/limits.ts';
import { Pipeline } from '../../src/pop3/pipeline.ts';
import type { Pop3Options } from '../../src/pop3/index.ts';
import { cutBody } from '../support/fake-pop3.ts';
import { connect, readAll, startFake } from './fake-session.ts';

describe('a pipeline', () => {
  const requests = (count: number, bytes: number) => Array.from({ length: count }, (_, number) => ({ number, bytes }));

  function run(count: number, bytes: number, window: { count: number; bytes: number }) {
    const batches: number[] = [];
    const order: number[] = [];
    let underWay = 0;
    let most = 0;
    const pipeline = new Pipeline(requests(count, bytes), window, (batch) => {
      batches.push(batch.length);
      underWay += batch.length;
      most = Math.max(most, underWay);
    });
    for (let request = pipeline.take(); request !== null; request = pipeline.take()) {
      order.push(request.number);
      underWay -= 1;
    }
    return { batches, order, most };
  }

  it('answers in order, with no more commands under way than the window has, refilled half a window at a time', () => {
    const { batches, order, most } = run(35, 1, { count: 10, bytes: 1_000 });
    expect(order).toEqual(requests(35, 1).map(({ number }) => number));
    expect(most).toBe(10);
    expect(batches).toEqual([10, 5, 5, 5, 5, 5]);
  });

  it('has no more octets under way than the window has', () => {
    expect(run(20, 30, { count: 10, bytes: 100 }).most).toBe(3);
  });

  it('sends what is larger than the window by itself', () => {
    expect(run(3, 500, { count: 10, bytes: 100 }).most).toBe(1);
  });

  it('with a window of one sends each command after the answer to the one before', () => {
    expect(run(4, 1, { count: 1, bytes: 1 }).batches).toEqual([1, 1, 1, 1]);
  });

  it('asks what is next no earlier than the window allows', () => {
    let asked = 0;
    function* endless() {
      for (;;) yield { number: (asked += 1), bytes: 1 };
    }
    const pipeline = new Pipeline(endless(), { count: 4, bytes: 100 }, () => undefined);
    pipeline.take();
    expect(asked).toBe(5);
  });
});

describe('retrieveAll', () => {
  const mails = Array.from({ length: 40 }, (_, n) => Buffer.from(`Subject: ${n}\r\n\r\n.${'text\r\n'.repeat(n)}\r\n`));
  const wanted = mails.map((raw, index) => ({ number: index + 1, bytes: raw.length }));

  async function logIn(server: Parameters<typeof connect>[0], options: Pop3Options = {}) {
    const client = await connect(server, { skipCapa: false }, options);
    await client.login();
    return client;
  }

  it.each([1, 1000])(
    'gets every mail whole, in order, when answers come in pieces of %d octets',
    async (chunkBytes) => {
      const server = await startFake({ mails, chunkBytes });
      const client = await logIn(server);
      const seen: string[] = [];
      for await (const { body } of client.retrieveAll(wanted)) seen.push((await readAll(body!)).toString());
      expect(seen).toEqual(mails.map(String));
      expect(await client.quit()).toBe(true);
    },
  );

  it('sends all at once where CAPA says PIPELINING, and one by one where it does not', async () => {
    const arrivals = async (capabilities: string[]) => {
      const server = await startFake({ mails, capabilities });
      const client = await logIn(server);
      const held = server.hold('RETR 1');
      const messages = client.retrieveAll(wanted);
      const first = messages.next();
      await held.reached;
      if (capabilities.includes('PIPELINING')) await server.received('RETR', wanted.length);
      const before = server.commands.filter((line) => line.startsWith('RETR')).length;
      held.release();
      await first;
      client.close();
      await messages.return?.().catch(() => undefined);
      return before;
    };
    expect(await arrivals(['UIDL', 'USER', 'PIPELINING'])).toBe(wanted.length);
    expect(await arrivals(['UIDL', 'USER'])).toBe(1);
  });

  it('passes over a body that is not read, and over a message that the server refuses', async () => {
    const server = await startFake({ mails, on: { 'RETR 7': () => '-ERR no such message' } });
    const client = await logIn(server);
    const outcomes: string[] = [];
    for await (const { message, body, error } of client.retrieveAll(wanted)) {
      if (error) outcomes.push(error.code);
      else if (message.number % 3 === 0) outcomes.push(String((await readAll(body)).length));
    }
    const expected = wanted.flatMap(({ number, bytes }) =>
      number === 7 ? ['upstream_command_failed'] : number % 3 === 0 ? [String(bytes)] : [],
    );
    expect(outcomes).toEqual(expected);
    expect(await client.quit()).toBe(true);
  });

  it('fails at the message where the server hangs up, and remembers to ask that server for fewer at once', async () => {
    const server = await startFake({ mails, on: { 'RETR 20': () => cutBody(mails[19]!, 3, 'close') } });
    const memory = new Map<string, number>();
    const client = await logIn(server, { pipelining: memory });
    let whole = 0;
    const run = async () => {
      for await (const { body } of client.retrieveAll(wanted)) {
        await readAll(body!);
        whole += 1;
      }
    };
    await expect(run()).rejects.toMatchObject({ code: 'upstream_closed', phase: 'retrieve' });
    expect(whole).toBe(19);
    expect([...memory]).toEqual([[`${server.host}:${server.port}`, pipelineCommandsMax / 10]]);
    await server.idle();
  });

  it.each([1, 7, 1000])(
    'puts no mail under the number of another where the server leaves out a line end (pieces of %d octets)',
    async (chunkBytes) => {
      const short = ['one', 'two', 'three'].map((word) => Buffer.from(`Subject: ${word}\r\n\r\n${word}.\r\n`));
      const joined = Buffer.concat([Buffer.from('+OK\r\n'), short[0]!.subarray(0, -2), Buffer.from('.\r\n')]);
      const server = await startFake({ mails: short, on: { 'RETR 1': () => joined }, chunkBytes });
      const memory = new Map<string, number>();
      const client = await logIn(server, { pipelining: memory, timeouts: { idleMs: 300 } });
      const whole: number[] = [];
      const run = async () => {
        const messages = short.map(({ length }, index) => ({ number: index + 1, bytes: length }));
        for await (const { message, body } of client.retrieveAll(messages)) {
          await readAll(body!);
          whole.push(message.number);
        }
      };
      await expect(run()).rejects.toMatchObject({ code: 'upstream_protocol_error', phase: 'retrieve' });
      expect(whole).toEqual([]);
      expect([...memory.values()]).toEqual([1]);
      // One by one, the same server is found out by its silence.
      const careful = await logIn(server, { pipelining: memory, timeouts: { idleMs: 300 } });
      const reading = (async () => {
        for await (const { body } of careful.retrieveAll(wanted.slice(0, 1))) await readAll(body!);
      })();
      await expect(reading).rejects.toMatchObject({ code: 'upstream_timeout', phase: 'retrieve' });
    },
  );

  it('takes mail for mail that holds what answers look like, as long as LIST tells the truth', async () => {
    const mail = Buffer.from('Subject: a log\r\n\r\n+OK ready\r\n-ERR no\r\n+OK\r\n');
    const client = await logIn(await startFake({ mails: [mail, mail] }));
    const seen: string[] = [];
    const messages = [1, 2].map((number) => ({ number, bytes: mail.length }));
    for await (const { body } of client.retrieveAll(messages)) seen.push(String(await readAll(body!)));
    expect(seen).toEqual([String(mail), String(mail)]);
  });

  it('left early ends the session, and with it what was under way', async () => {
    const server = await startFake({ mails });
    const client = await logIn(server);
    for await (const { message } of client.retrieveAll(wanted)) if (message.number === 3) break;
    await server.idle();
    await expect(client.stat()).rejects.toMatchObject({ code: 'upstream_closed' });
  });

  it('left before anything was asked for leaves the session as it is', async () => {
    const client = await logIn(await startFake({ mails }));
    const messages = client.retrieveAll(wanted);
    await messages.return?.();
    expect(await messages.next()).toEqual({ done: true, value: undefined });
    expect(await client.stat()).toMatchObject({ count: mails.length });
  });

  it('deleteAll marks all that the server lets go, and says which it does not', async () => {
    const server = await startFake({ mails, on: { 'DELE 5': () => '-ERR locked' } });
    const client = await logIn(server);
    const refused = await client.deleteAll(wanted.map(({ number }) => number));
    expect([...refused.keys()]).toEqual([5]);
    expect(await client.quit()).toBe(true);
    expect(server.mails.map(({ uidl }) => uidl)).toEqual(['uid-5']);
  });
});
