/** Consumers by name over the real service and a real Dovecot: what they have not acknowledged is read again, also after a restart. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { createContractChecker } from '../support/contract.ts';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import type { EventPage } from '../support/event-feed.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, startService, type ApiResponse, type Service } from '../support/service.ts';

type Consumer = components['schemas']['EventConsumer'];

const PASSWORD = 'a real password';
const MAILS = ['one', 'two', 'three'].map((subject) => Buffer.from(`Subject: ${subject}\r\n\r\nText.\r\n`));
const { checkEvent, checkResponse } = createContractChecker();

describe.skipIf(!dovecotAvailable())('a consumer by name, of mail from Dovecot', () => {
  let redis: TestRedis;
  let dovecot: Dovecot;
  let service: Service;
  beforeAll(async () => {
    redis = await startRedis();
    dovecot = await startDovecot({ users: { first: { password: PASSWORD, mails: MAILS } } });
    service = await startService({ redis });
  });
  afterAll(async () => {
    await service?.close();
    await dovecot?.close();
    await redis?.close();
  });

  async function ask(method: string, path: string, body?: object): Promise<ApiResponse> {
    const answer = await service.api(method, `/v1/event-consumers${path}`, body ? { body } : {});
    checkResponse({ method, path: `/v1/event-consumers${path}`, ...answer });
    return answer;
  }
  async function read(name: string, query = ''): Promise<EventPage> {
    const page = (await ask('GET', `/${name}/events${query}`)).json() as EventPage;
    page.items.forEach(checkEvent);
    return page;
  }
  const subjectsOf = ({ items }: EventPage) =>
    items.map((event) => event.type === 'message.received' && event.data.message?.subject);

  it(
    'gets its events again until it has acknowledged them, and goes on where it was',
    { timeout: 120_000 },
    async () => {
      const made = await ask('PUT', '/helpdesk', { types: ['message.received'] });
      expect(made.status).toBe(201);
      expect(made.headers.location).toBe('/v1/event-consumers/helpdesk');
      expect(made.json()).toMatchObject({ name: 'helpdesk', types: ['message.received'], mailbox: null, behind: 0 });

      const waiting = read('helpdesk', '?wait=60&limit=1');
      const source = { host: dovecot.host, port: dovecot.port, tls: 'none', username: 'first', password: PASSWORD };
      const fetch = await service.fetchMail({ source } as Parameters<Service['fetchMail']>[0]);
      expect(subjectsOf(await waiting)).toEqual(['one']);

      const page = await read('helpdesk', '?limit=2');
      expect(subjectsOf(page)).toEqual(['one', 'two']);
      expect(await read('helpdesk', '?limit=2'), 'what is not acknowledged comes again').toEqual(page);
      const acknowledged = (await ask('POST', '/helpdesk/ack', { cursor: page.nextCursor })).json() as Consumer;
      expect(acknowledged.cursor).toBe(page.nextCursor);
      expect(acknowledged.behind).toBeGreaterThan(0);
      const rest = await read('helpdesk');
      expect(subjectsOf(rest)).toEqual(['three']);
      await ask('POST', '/helpdesk/ack', { cursor: rest.nextCursor });
      // An acknowledgement that comes late moves nothing back.
      const late = (await ask('POST', '/helpdesk/ack', { cursor: page.nextCursor })).json() as Consumer;
      expect(late).toMatchObject({ cursor: rest.nextCursor });

      expect(await service.kill('SIGKILL')).toMatchObject({ signal: 'SIGKILL' });
      service = await startService({ redis, dataDir: service.dataDir });
      expect(subjectsOf(await read('helpdesk'))).toEqual([]);
      const again = await ask('PUT', '/helpdesk', { types: ['*'], mailbox: fetch.mailboxId });
      expect(again.status).toBe(200);
      expect(again.json()).toMatchObject({ types: ['*'], mailbox: fetch.mailboxId, cursor: rest.nextCursor });
      const all = (await ask('PUT', '/helpdesk', { from: 'earliest' })).json() as Consumer;
      expect(all.types).toEqual(['*']);
      // The end of the fetch may not have been told before the kill; it is now.
      const told = await eventually(
        () => read('helpdesk'),
        ({ items }) => items.length === 4,
        60_000,
      );
      expect(told.items.map(({ sequence }) => Number(sequence))).toEqual([1, 2, 3, 4]);
    },
  );

  it('is listed, and gone when it is deleted; the log does not mind', async () => {
    await ask('PUT', '/a', {});
    await ask('PUT', '/b', { from: 'earliest' });
    const { items } = (await ask('GET', '')).json() as { items: Consumer[] };
    expect(items.map(({ name }) => name)).toEqual(expect.arrayContaining(['a', 'b']));
    expect((await ask('GET', '/a')).json()).toMatchObject({ name: 'a', behind: 0 });
    expect((await read('b')).items.length).toBeGreaterThan(0);
    expect((await ask('DELETE', '/b')).status).toBe(204);
    for (const [method, path, body] of [
      ['GET', '/b'],
      ['GET', '/b/events'],
      ['DELETE', '/b'],
      ['POST', '/b/ack', { cursor: '1-1' }],
    ] as const) {
      expect((await ask(method, path, body)).status, `${method} ${path}`).toBe(404);
    }
  });

  it('is refused what fits no event, and what is still to happen', async () => {
    await ask('PUT', '/c', {});
    const { cursor } = (await ask('GET', '/c')).json() as Consumer;
    const [ms, number] = cursor.split('-').map(Number);
    const ahead = await ask('POST', '/c/ack', { cursor: `${ms}-${Number(number) + 1}` });
    expect(ahead.asProblem()).toMatchObject({ status: 400, code: 'invalid_request' });
    expect((await ask('PUT', '/c', { types: ['mesage.*'] })).status).toBe(400);
    expect((await ask('PUT', '/C', {})).status).toBe(400);
  });
});
