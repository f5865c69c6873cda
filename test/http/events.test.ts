/** What a stream of events does where only a feed of our own can show it. */
import { expect, it, onTestFinished, vi } from 'vitest';
import { createEventFeed, type EventFeed, type EventPage } from '../../src/event/feed.ts';
import { createNews } from '../../src/event/news.ts';
import { eventHandlers } from '../../src/http/events.ts';
import { eventStreamsAtOnceMax, heartbeatMs, pageCharsMax } from '../../src/http/limits.ts';
import type { RedisClient } from '../../src/redis/client.ts';
import { received } from '../support/events.ts';

const PLACE = { ms: 1, number: 0 };
const QUIET: EventPage = { events: [], end: { ms: 1, number: 7 }, hasMore: false };

function set(read: EventFeed['read'], textChars = 0) {
  const shutdown = new AbortController();
  const body = { type: 'message.received', data: { message: { text: 'x'.repeat(textChars), html: null } } };
  const handlers = eventHandlers({
    events: { read, end: async () => PLACE },
    renderEvent: async () => body as never,
    shutdown: shutdown.signal,
  });
  const signal = new AbortController().signal;
  const call = { method: 'GET', principal: { tenant: 't' }, path: {}, query: {}, header: {}, signal };
  const open = async (): Promise<ReadableStreamDefaultReader<Uint8Array>> => {
    const response = await handlers.streamEvents(call as never);
    return (response.body as ReadableStream<Uint8Array>).getReader();
  };
  return { shutdown, open, list: () => handlers.listEvents(call as never) };
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string | null> {
  const { value } = await reader.read();
  return value === undefined ? null : Buffer.from(value).toString();
}

it('a stream without events says how far it has looked, and ends when the process stops', async () => {
  const { shutdown, open } = set(async () => QUIET);
  const reader = await open();
  expect(await read(reader)).toBe('id: 1-0\n\n');
  expect(await read(reader)).toBe(':\nid: 1-7\n\n');
  shutdown.abort();
  for (let left = 100; left > 0; left -= 1) if ((await read(reader)) === null) return;
  expect.unreachable('It goes on');
});

it('a stream on which nothing happens sends a comment each time that the heartbeat is due, and nothing before', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const subscriber = { on() {}, subscribe: async () => undefined, unsubscribe: async () => undefined };
  const feed = createEventFeed({
    log: { read: async () => ({ entries: [], end: QUIET.end }), end: async () => QUIET.end },
    news: createNews(subscriber as unknown as RedisClient),
    clock: { now: () => Date.now() },
  });
  const { shutdown, open } = set(feed.read);
  const reader = await open();
  await read(reader);
  for (let beats = 0; beats < 3; beats += 1) {
    let sent: string | null = null;
    void read(reader).then((text) => (sent = text));
    await vi.advanceTimersByTimeAsync(heartbeatMs - 1);
    expect(sent).toBeNull();
    await vi.advanceTimersByTimeAsync(1);
    expect(sent).toBe(':\nid: 1-0\n\n');
  }
  shutdown.abort();
});

it('a stream that the log has left behind ends, and is answered 410 from the beginning', async () => {
  let isMissed = false;
  const { open } = set(async () => (isMissed ? null : QUIET));
  const reader = await open();
  await read(reader);
  isMissed = true;
  for (let left = 100; (await read(reader)) !== null; left -= 1) if (left === 0) expect.unreachable('It goes on');
  await expect(open()).rejects.toMatchObject({ code: 'events_missed' });
});

it('a stream is refused beside as many as there may be, and makes room when its reader is gone', async () => {
  const { open } = set(async () => QUIET);
  const readers = [];
  for (let n = 0; n < eventStreamsAtOnceMax; n += 1) {
    const reader = await open();
    await read(reader);
    readers.push(reader);
  }
  await expect(open()).rejects.toMatchObject({ code: 'busy' });
  await readers[0]?.cancel();
  await expect(open()).resolves.toBeDefined();
});

it('a page that is full of text ends there, and its cursor says so', async () => {
  const events = [1, 2, 3].map((number) => ({ place: { ms: 1, number }, event: received(`msg_${number}`) }));
  const { list } = set(async () => ({ events, end: { ms: 1, number: 3 }, hasMore: false }), pageCharsMax / 2);
  const reply = await list();
  expect(reply).toMatchObject({ body: { nextCursor: '1-2', hasMore: true } });
});
