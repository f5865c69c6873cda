import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { checkBody } from '../../../src/message/blobs/s3-body.ts';

const STALL_MS = 20_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('a reader may take its time: it is S3 that must not stall', async () => {
  const body = new PassThrough({ highWaterMark: 1024 });
  const checked = checkBody(body, { bytes: 300_000, stallTimeoutMs: STALL_MS });
  for (let part = 0; part < 3; part += 1) body.write(Buffer.alloc(100_000, 'x'));
  body.end();
  await once(checked, 'readable');
  await vi.advanceTimersByTimeAsync(10 * STALL_MS);
  expect((await buffer(checked)).length).toBe(300_000);
});

test('a body that has come whole waits for its reader without end', async () => {
  const body = new PassThrough();
  const checked = checkBody(body, { bytes: 3, stallTimeoutMs: STALL_MS });
  body.end('abc');
  await once(body, 'end');
  await vi.advanceTimersByTimeAsync(10 * STALL_MS);
  expect((await buffer(checked)).toString()).toBe('abc');
});

test('time runs from the last bytes, and not from the first', async () => {
  const body = new PassThrough();
  const checked = checkBody(body, { bytes: 100, stallTimeoutMs: STALL_MS });
  checked.on('error', () => undefined).resume();
  for (let part = 0; part < 5; part += 1) {
    body.write('x');
    await vi.advanceTimersByTimeAsync(STALL_MS - 1);
    expect(checked.destroyed).toBe(false);
  }
  await vi.advanceTimersByTimeAsync(1);
  expect([checked.errored?.message, body.destroyed]).toEqual([expect.stringContaining('sent nothing for 20 s'), true]);
});

test.each([
  ['less', 'ab', /broke off 1 bytes before the end/],
  ['more', 'abcd', /more bytes than it had announced/],
])('%s than was announced is an error', async (_what, text, message) => {
  const body = new PassThrough();
  const checked = checkBody(body, { bytes: 3, stallTimeoutMs: STALL_MS });
  body.end(text);
  await expect(buffer(checked)).rejects.toMatchObject({
    code: 'storage_failed',
    message: expect.stringMatching(message) as unknown,
  });
});
