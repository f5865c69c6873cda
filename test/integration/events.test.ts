/** Events over the real service: what is told, in which order, and how it is read without a URL of one's own. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { eventKeys } from '../../src/redis/keys.ts';
import {
  eventsOf,
  readEventPage,
  readEvents,
  streamEvents,
  type EventBody,
  type EventPage,
} from '../support/event-feed.ts';
import { startFakePop3, type FakePop3, type FakePop3Options } from '../support/fake-pop3.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, startService, type FetchBody, type Service } from '../support/service.ts';

type Mailbox = components['schemas']['Mailbox'];

const KEYS = eventKeys('default');
const mail = (uidl: string, subject = uidl) => ({ uidl, raw: Buffer.from(`Subject: ${subject}\r\n\r\nText.\r\n`) });

let server: TestRedis;
let redis: Redis;
let service: Service;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  service = await startService({ redis: server });
});
afterAll(async () => {
  await service?.close();
  redis?.disconnect();
  await server?.close();
});

let count = 0;

async function fakeServer(options: FakePop3Options): Promise<FakePop3> {
  const pop3 = await startFakePop3(options);
  onTestFinished(() => pop3.close());
  return pop3;
}

async function stored(port: number, more: object = {}): Promise<Mailbox> {
  count += 1;
  const source = { host: '127.0.0.1', port, tls: 'none', username: `user-${count}`, password: 'p' };
  const answer = await service.api('POST', '/v1/mailboxes', { body: { source, ...more } });
  expect(answer.status, answer.text).toBe(201);
  return answer.json() as Mailbox;
}

async function fetchNow({ id }: Mailbox, by = service): Promise<FetchBody> {
  return (await by.api('POST', `/v1/mailboxes/${id}/fetches`, { headers: { prefer: 'wait=30' } })).asFetch();
}

async function change({ id }: Mailbox, body: object): Promise<void> {
  const answer = await service.api('PATCH', `/v1/mailboxes/${id}`, { body });
  expect(answer.status, answer.text).toBe(200);
}

const typesOf = (events: readonly EventBody[]) => events.map(({ type }) => type);
const numbersFrom1 = (length: number) => Array.from({ length }, (_, at) => at + 1);

function expectNoGaps(events: readonly EventBody[]): void {
  expect(events.map(({ sequence }) => Number(sequence))).toEqual(numbersFrom1(events.length));
  expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
}

describe('what is told of a mailbox', () => {
  it('is its messages: received, skipped and deleted upstream, and the fetches', async () => {
    const pop3 = await fakeServer({ mails: [mail('a', 'Invoice'), mail('b', 'Holiday'), mail('c', 'invoice 2')] });
    const filter = { headers: [{ name: 'subject', contains: ['invoice'] }] };
    const mailbox = await stored(pop3.port, { filter, delete: 'stored' });
    const fetch = await fetchNow(mailbox);
    const events = await eventsOf(service, mailbox.id, 'fetch.succeeded');
    expect(typesOf(events).toSorted()).toEqual([
      'fetch.succeeded',
      'message.deleted_upstream',
      'message.deleted_upstream',
      'message.received',
      'message.received',
      'message.skipped',
    ]);
    expectNoGaps(events);
    const messages = await service.listMessages(fetch.id);
    const received = events.filter(({ type }) => type === 'message.received');
    expect(received.map(({ subject }) => subject)).toEqual(messages.map(({ id }) => id));
    expect(received[0]).toMatchObject({ fetch: fetch.id, data: { message: { subject: 'Invoice' } } });
    expect(events.find(({ type }) => type === 'message.skipped')).toMatchObject({
      data: { uidl: 'b', reason: 'filter_headers' },
    });
    expect(events.at(-1)).toMatchObject({
      type: 'fetch.succeeded',
      subject: fetch.id,
      data: { counts: { retrieved: 2, filtered: 1, deleted: 2 } },
    });
    // Nothing of that is told again; a fetch that was asked for is.
    const again = await fetchNow(mailbox);
    const all = await eventually(
      () => readEvents(service, `&mailbox=${mailbox.id}`),
      (found) => found.some(({ subject }) => subject === again.id),
    );
    expect(typesOf(all.slice(events.length))).toEqual(['fetch.succeeded']);
    expectNoGaps(all);
  });

  it('is each change of its state, by its fetches and by its owner', async () => {
    let isRefused = false;
    const pop3 = await fakeServer({
      mails: [],
      on: { PASS: () => (isRefused ? '-ERR [AUTH] Wrong' : undefined) },
    });
    const mailbox = await stored(pop3.port);
    await fetchNow(mailbox);
    isRefused = true;
    for (let times = 0; times < 3; times += 1) await fetchNow(mailbox);
    await eventsOf(service, mailbox.id, 'mailbox.needs_credentials');
    await change(mailbox, { paused: true });
    isRefused = false;
    await change(mailbox, { paused: false });
    const events = await eventsOf(service, mailbox.id, 'mailbox.recovered');
    expect(typesOf(events)).toEqual([
      'fetch.succeeded',
      'mailbox.retrying',
      'fetch.failed',
      'fetch.failed',
      'mailbox.needs_credentials',
      'fetch.failed',
      'mailbox.paused',
      'mailbox.recovered',
    ]);
    expectNoGaps(events);
    expect(events[4]).toMatchObject({
      subject: mailbox.id,
      fetch: events[5]?.fetch,
      data: { failure: { code: 'upstream_auth_failed', phase: 'login' } },
    });
    expect(events[7]?.fetch).toBeUndefined();
    isRefused = true;
    await fetchNow(mailbox);
    isRefused = false;
    const mended = await fetchNow(mailbox);
    const all = await eventually(
      () => readEvents(service, `&mailbox=${mailbox.id}`),
      (found) => found.length === events.length + 4,
    );
    expect(all.filter(({ type }) => type === 'mailbox.recovered')).toMatchObject([{}, { fetch: mended.id }]);
  });

  it('is counted on where it is deleted and made again, and is to be counted no longer where it is not', async () => {
    const pop3 = await fakeServer({ mails: [mail('a')] });
    const source = { host: '127.0.0.1', port: pop3.port, tls: 'none', username: 'comes-back', password: 'p' };
    const make = async () => (await service.api('POST', '/v1/mailboxes', { body: { source } })).json() as Mailbox;
    const mailbox = await make();
    await fetchNow(mailbox);
    const before = await eventsOf(service, mailbox.id, 'fetch.succeeded');
    expect(await redis.zscore(KEYS.leaving, mailbox.id)).toBeNull();
    expect((await service.api('DELETE', `/v1/mailboxes/${mailbox.id}`)).status).toBe(204);
    expect(await redis.zscore(KEYS.leaving, mailbox.id)).not.toBeNull();
    expect((await make()).id).toBe(mailbox.id);
    const again = await fetchNow(mailbox);
    const all = await eventually(
      () => readEvents(service, `&mailbox=${mailbox.id}`),
      (found) => found.some(({ subject }) => subject === again.id),
    );
    expect(all.length).toBeGreaterThan(before.length);
    expectNoGaps(all);
  });

  it('is that the egress policy forbids its server', { timeout: 90_000 }, async () => {
    const own = await startRedis();
    onTestFinished(() => own.close());
    const before = await startService({ redis: own, env: { POPBRIDGE_ROLE: 'api' } });
    onTestFinished(() => before.close());
    const source = { host: '127.0.0.1', port: 110, tls: 'none', username: 'u', password: 'p' };
    const body = { source, schedule: { every: '30s' } };
    const mailbox = (await before.api('POST', '/v1/mailboxes', { body })).json() as Mailbox;
    const strict = await startService({ redis: own, env: { POPBRIDGE_EGRESS_ALLOW: '' } });
    onTestFinished(() => strict.close());
    const page = await readEventPage(strict, `?mailbox=${mailbox.id}&types=mailbox.*&wait=60`);
    expect(page.items).toMatchObject([{ type: 'mailbox.blocked', data: { failure: { code: 'egress_blocked' } } }]);
  });

  it('is that the server has renumbered its mail, once; which is not received again', async () => {
    const pop3 = await fakeServer({ mails: [mail('a', 'One'), mail('b', 'Two'), mail('c', 'Three')] });
    const mailbox = await stored(pop3.port);
    await fetchNow(mailbox);
    for (const place of ['x', 'y']) {
      pop3.mails = ['One', 'Two', 'Three'].map((text, at) => mail(`${place}${at}`, text));
      await fetchNow(mailbox);
    }
    const events = await eventsOf(service, mailbox.id, 'mailbox.warning');
    expect(events.filter(({ type }) => type === 'message.received')).toHaveLength(3);
    expect(events.filter(({ type }) => type === 'mailbox.warning')).toMatchObject([
      { data: { code: 'unique_ids_changed' } },
    ]);
  });

  it(
    'by its schedule is what is new and what fails, and nothing where there is nothing new',
    { timeout: 90_000 },
    async () => {
      const pop3 = await fakeServer({ mails: [] });
      const mailbox = await stored(pop3.port, { schedule: { every: '30s' } });
      await eventually(
        async () => (await service.api('GET', `/v1/mailboxes/${mailbox.id}`)).json() as Mailbox,
        ({ lastFetch }) => lastFetch !== null,
        60_000,
      );
      const asked = await fetchNow(mailbox);
      const events = await eventsOf(service, mailbox.id, 'fetch.succeeded');
      expect(events.map(({ subject }) => subject)).toEqual([asked.id]);
    },
  );
});

describe('GET /v1/events', () => {
  it('waits for an event, and answers when there is one, or when the time is over', async () => {
    const pop3 = await fakeServer({ mails: [mail('a')] });
    const mailbox = await stored(pop3.port);
    const { nextCursor } = await readEventPage(service, '?after=latest');
    const query = `?after=${nextCursor}&mailbox=${mailbox.id}&types=message.*`;
    expect(await readEventPage(service, `${query}&wait=1`)).toMatchObject({ items: [], hasMore: false });
    const waiting = readEventPage(service, `${query}&wait=60`);
    await subscribed();
    const fetch = await fetchNow(mailbox);
    expect(await waiting).toMatchObject({ items: [{ type: 'message.received', fetch: fetch.id }] });
    expect(await redis.pubsub('CHANNELS', KEYS.channel)).toEqual([]);
  });

  it('says that events were missed where they have left the log, and refuses what it does not know', async () => {
    const { nextCursor } = await readEventPage(service, '?after=latest');
    const [ms, number] = nextCursor.split('-').map(Number);
    const answer = await service.api('GET', `/v1/events?after=${ms}-${Number(number) + 1}`);
    expect(answer.status).toBe(410);
    expect(answer.asProblem().code).toBe('events_missed');
    expect((await service.api('GET', `/v1/events/stream?after=${ms}-${Number(number) + 1}`)).status).toBe(410);
    for (const query of ['types=message.recieved', 'types=', 'after=1', 'wait=61', 'mailbox=mbx_1', 'limit=0']) {
      expect((await service.api('GET', `/v1/events?${query}`)).status, query).toBe(400);
    }
    expect((await service.api('GET', '/v1/events', { key: null })).status).toBe(401);
  });

  it('tells of a message that was deleted since, without it', async () => {
    const pop3 = await fakeServer({ mails: [mail('a')] });
    const mailbox = await stored(pop3.port);
    const [message] = await service.listMessages((await fetchNow(mailbox)).id);
    expect((await service.api('DELETE', `/v1/messages/${message?.id}`)).status).toBe(204);
    const [event] = await eventsOf(service, mailbox.id, 'message.received');
    expect(event).toMatchObject({ subject: message?.id, data: { message: null } });
  });

  it('lets a thousand wait, for whom there is one connection to Redis', { timeout: 120_000 }, async () => {
    const pop3 = await fakeServer({ mails: [mail('a')] });
    const mailbox = await stored(pop3.port);
    const { nextCursor } = await readEventPage(service, '?after=latest');
    const countClients = async () =>
      String(await redis.client('LIST'))
        .trim()
        .split('\n').length;
    const before = await countClients();
    const query = `/v1/events?after=${nextCursor}&mailbox=${mailbox.id}&types=message.received&wait=60`;
    const waiting = Array.from({ length: 1000 }, () => service.api('GET', query));
    await subscribed();
    const other = service.api('GET', '/v1/events?after=latest&wait=1');
    expect((await other).status).toBe(200);
    expect(await countClients()).toBeLessThanOrEqual(before);
    await fetchNow(mailbox);
    const answers = await Promise.all(waiting);
    expect(answers.every(({ status, json }) => status === 200 && (json() as EventPage).items.length === 1)).toBe(true);
  });
});

/** Somebody waits for events of the tenant. */
async function subscribed(): Promise<void> {
  await eventually(
    () => redis.pubsub('CHANNELS', KEYS.channel),
    (channels) => (channels as string[]).length === 1,
  );
}

describe('GET /v1/events/stream', () => {
  it('tells of events as they happen, and goes on where it was without loss', async () => {
    const pop3 = await fakeServer({ mails: [mail('a'), mail('b')] });
    const mailbox = await stored(pop3.port);
    const query = `?mailbox=${mailbox.id}&types=message.received`;
    const begin = streamEvents(service, query);
    const first = await begin.next();
    expect(first.value).toMatchObject({ event: null });
    await begin.return();

    const fetch = await fetchNow(mailbox);
    const messages = (await service.listMessages(fetch.id)).map(({ id }) => id);
    const seen: (string | undefined)[] = [];
    let cursor = first.value?.id ?? '';
    while (seen.length < messages.length) {
      // Each connection sees one event only, and breaks off.
      for await (const { id, event } of streamEvents(service, query, { 'last-event-id': cursor })) {
        cursor = id;
        if (!event) continue;
        seen.push(event.subject);
        break;
      }
    }
    expect(seen).toEqual(messages);
    const rest = streamEvents(service, `${query}&after=${cursor}`);
    await rest.next();
    pop3.mails = [...pop3.mails, mail('c')];
    const [next] = await Promise.all([rest.next(), fetchNow(mailbox)]);
    expect(next.value).toMatchObject({ event: { data: { message: { subject: 'c' } } } });
    await rest.return();
  });

  it('ends when the service stops, and is answered to HEAD', async () => {
    const other = await startService({ redis: server, env: { POPBRIDGE_ROLE: 'api' } });
    onTestFinished(() => other.close());
    expect((await other.api('HEAD', '/v1/events/stream')).status).toBe(200);
    const stream = streamEvents(other);
    await stream.next();
    const [end, exit] = await Promise.all([stream.next(), other.kill('SIGTERM')]);
    expect(end.done).toBe(true);
    expect(exit.code).toBe(0);
  });
});

describe('a worker that is killed as an event is appended', () => {
  it('has told each message, once and under one id', { timeout: 120_000 }, async () => {
    const mails = Array.from({ length: 6 }, (_, at) => mail(`u${at}`));
    // Without pipelining, and with pauses, messages are committed one by one.
    const pop3 = await fakeServer({ mails, capabilities: ['UIDL', 'USER'] });
    const own = await startRedis();
    onTestFinished(() => own.close());
    const listener = new Redis(own.url);
    onTestFinished(() => listener.disconnect());
    let running = await startService({ redis: own });
    onTestFinished(() => running.close());
    await listener.subscribe(KEYS.channel);

    const source = { host: '127.0.0.1', port: pop3.port, tls: 'none', username: 'u', password: 'p' };
    const news = nextNews(listener);
    const { id } = (await running.api('POST', '/v1/fetches', { body: { source, delete: 'stored' } })).asFetch();
    await news;
    await running.kill('SIGKILL');
    running = await startService({ redis: own, dataDir: running.dataDir });
    const ended = (await running.api('GET', `/v1/fetches/${id}`, { headers: { prefer: 'wait=60' } })).asFetch();
    expect(ended).toMatchObject({ state: 'succeeded', counts: { retrieved: mails.length } });
    const events = await eventsOf(running, ended.mailboxId, 'fetch.succeeded');
    const messages = (await running.listMessages(id)).map((message) => message.id);
    const subjectsOf = (wanted: EventBody['type']) =>
      events.filter(({ type }) => type === wanted).map(({ subject }) => subject);
    expect(subjectsOf('message.received').toSorted()).toEqual(messages.toSorted());
    expect(subjectsOf('message.deleted_upstream').toSorted()).toEqual(messages.toSorted());
    expectNoGaps(events);
  });
});

function nextNews(listener: Redis): Promise<void> {
  return new Promise((resolve) => void listener.once('message', () => resolve()));
}
