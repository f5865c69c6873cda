import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { parseMessage } from '../../src/mime/parse.ts';
import { createMimePool } from '../../src/mime/pool.ts';
import type { MimePool, MimePoolOptions } from '../../src/mime/pool.ts';
import { sanitize } from '../../src/mime/sanitize.ts';
import { mail, multipart } from './mail.ts';

const pools: MimePool[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close()));
});

function open(options: Partial<MimePoolOptions> = {}): MimePool {
  const pool = createMimePool({ threads: 1, ...options });
  pools.push(pool);
  return pool;
}

const openHostile = (options: Partial<MimePoolOptions> = {}): MimePool =>
  open({ workerUrl: new URL('hostile-worker.ts', import.meta.url), ...options });

const letter = (): Buffer => mail('From: a@x.example\nSubject: hello\n\nwords');

test('a thread gives what parseMessage gives', async () => {
  const raw = multipart('mixed', '\nwords', 'Content-Type: application/pdf\n\nx');
  expect(await open().parse(Buffer.from(raw))).toEqual(await parseMessage(raw));
});

test('bytes that own their memory are transferred, others are left alone', async () => {
  const pool = open();
  const own = new Uint8Array(letter());
  const shared = Buffer.concat([Buffer.from('....'), letter()]).subarray(4);
  expect(await pool.parse(own)).toMatchObject({ subject: 'hello' });
  expect(own.byteLength).toBe(0);
  expect(await pool.parse(shared)).toMatchObject({ subject: 'hello' });
  expect(shared.subarray(0, 5).toString()).toBe('From:');
  expect(await pool.parse(Buffer.from('Subject: pooled\n\nx'))).toMatchObject({ subject: 'pooled' });
  expect(await pool.parse(new Uint8Array())).toMatchObject({ parse: { status: 'partial' } });
});

test('more messages than threads are all parsed', async () => {
  const pool = open({ threads: 2 });
  const parsed = await Promise.all(
    Array.from({ length: 50 }, (_, index) => pool.parse(mail(`Subject: ${index}\n\nx`))),
  );
  expect(parsed.map((message) => message.subject)).toEqual(Array.from({ length: 50 }, (_, index) => `${index}`));
});

test('says how much is in hand, in threads and before them', async () => {
  const pool = open();
  expect(pool.inHand).toBe(0);
  const working = [pool.parse(letter()), pool.sanitize('<p>'), pool.parse(Readable.from([letter()]))];
  expect(pool.inHand).toBe(3);
  await Promise.all(working);
  expect(pool.inHand).toBe(0);
  await expect(pool.parse(Readable.from(failing()))).rejects.toThrow('the disk is gone');
  expect(pool.inHand).toBe(0);
});

async function* failing(): AsyncGenerator<Buffer> {
  yield letter();
  throw new RangeError('the disk is gone');
}

test('a thread has none of the environment, and so none of its secrets', async () => {
  expect(await openHostile().parse(mail('Subject: environment\n\n'))).toMatchObject({ text: '{}' });
});

describe('a message that', () => {
  test.for([
    ['loops', 'loop', 'time_limit', { timeLimitMs: 3000 }],
    ['hoards memory', 'hoard', 'memory_limit', { heapMb: 64 }],
    ['ends the thread', 'exit', 'crashed', {}],
    ['throws', 'throw', 'crashed', {}],
    ['throws out of nowhere', 'stray', 'crashed', {}],
  ] as const)(
    '%s comes back as failed, with its headers, and the next one is parsed',
    async ([, subject, code, options]) => {
      const failures: Error[] = [];
      const pool = openHostile({ ...options, onFailure: (error) => failures.push(error) });
      const message = await pool.parse(mail(`From: a@x.example\nSubject: ${subject}\n\nwords`));
      expect(message).toMatchObject({
        subject,
        from: [{ address: 'a@x.example' }],
        text: null,
        attachments: [],
        parse: { status: 'failed', warnings: [{ code }] },
      });
      expect(failures).toHaveLength(1);
      expect(await pool.parse(letter())).toMatchObject({ subject: 'hello', text: 'words', parse: { status: 'ok' } });
    },
  );

  test('cannot even have its headers read comes back empty', async () => {
    const pool = openHostile({ timeLimitMs: 1000 });
    const message = await pool.parse(mail('X-Even-Alone: yes\nSubject: loop\n\nwords'));
    expect(message).toMatchObject({
      subject: null,
      headers: [],
      parse: { status: 'failed', warnings: [{ code: 'time_limit' }] },
    });
    expect(await pool.parse(letter())).toMatchObject({ subject: 'hello' });
  });

  test('loops does not disturb those in other threads, nor those that wait', async () => {
    const pool = openHostile({ threads: 2, timeLimitMs: 5000 });
    const order: string[] = [];
    const looping = pool.parse(mail('Subject: loop\n\nx')).then((message) => {
      order.push('loop');
      return message;
    });
    const others = await Promise.all(
      Array.from({ length: 20 }, () => pool.parse(letter()).finally(() => order.push('other'))),
    );
    expect(others.every((message) => message.parse.status === 'ok')).toBe(true);
    expect((await looping).parse.status).toBe('failed');
    expect(order.indexOf('loop')).toBe(20);
  });

  test('is only slow, and real, meets the time limit as well', async () => {
    const pool = open({ timeLimitMs: 1 });
    const html = mail('Subject: slow\nContent-Type: text/html\n\n', '<p><b>word</b>\n'.repeat(2_000_000));
    // A new thread may take longer than that to start, so it has nothing but the headers, or not even them.
    expect(await pool.parse(html)).toMatchObject({
      text: null,
      parse: { status: 'failed', warnings: [{ code: 'time_limit' }] },
    });
  });
});

describe('sanitise', () => {
  test('a thread gives what sanitize gives', async () => {
    const html = '<p onclick=x>words<script>x</script>';
    expect(await open().sanitize(html)).toEqual(sanitize(html));
    expect(await open().sanitize('<b>'.repeat(100_000))).toEqual({ html: null, failure: 'too_deep' });
  });

  test.for([
    ['loop', 'time_limit'],
    ['exit', 'crashed'],
  ] as const)(
    'HTML that makes its thread %s comes back as a failure, and the thread with it',
    async ([html, failure]) => {
      const failures: Error[] = [];
      const pool = openHostile({ timeLimitMs: 5000, onFailure: (error) => failures.push(error) });
      expect(await pool.sanitize(html)).toEqual({ html: null, failure });
      expect(failures).toHaveLength(1);
      expect(await pool.sanitize('<p>next</p>')).toEqual({ html: '<p>next</p>', isCut: false });
    },
  );

  test('is refused once the pool is closed', async () => {
    const pool = open();
    await pool.close();
    await expect(pool.sanitize('x')).rejects.toMatchObject({ code: 'cancelled' });
  });
});

test('a lazy pool starts its threads with the first work, and gives the same', async () => {
  const pool = open({ isLazy: true, threads: 2 });
  expect(await pool.parse(letter())).toMatchObject({ subject: 'hello' });
  const both = await Promise.all([pool.sanitize('<p>1</p>'), pool.parse(letter())]);
  expect(both).toMatchObject([{ html: '<p>1</p>' }, { subject: 'hello' }]);
});

describe('close', () => {
  test('waits for the messages in hand', async () => {
    const pool = open();
    const parsed = Array.from({ length: 5 }, () => pool.parse(letter()));
    await pool.close();
    expect((await Promise.all(parsed)).map((message) => message.subject)).toEqual(Array(5).fill('hello'));
  });

  test('refuses messages from then on, and may be called twice', async () => {
    const pool = open();
    await Promise.all([pool.close(), pool.close()]);
    await expect(pool.parse(letter())).rejects.toThrow(
      expect.objectContaining({ name: 'AppError', code: 'cancelled' }) as Error,
    );
    const stream = Readable.from([letter()]);
    await expect(pool.parse(stream)).rejects.toMatchObject({ code: 'cancelled' });
    expect(stream.destroyed).toBe(true);
  });
});

describe('a message that comes as a stream', () => {
  const pieces = (raw: Buffer, size = 50_000): Readable =>
    Readable.from(
      Array.from({ length: Math.ceil(raw.length / size) }, (_, at) => raw.subarray(at * size, (at + 1) * size)),
    );
  const large = (subject: string): Buffer =>
    multipart(
      'mixed',
      `Content-Type: text/plain\n\n${subject}`,
      `Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n${'YWJj'.repeat(500_000)}`,
    );

  test('is what it would be in one piece, and the stream is let go', async () => {
    const pool = open();
    for (const raw of [large('hello'), letter(), Buffer.alloc(0)]) {
      const stream = pieces(raw);
      expect(await pool.parse(stream)).toEqual(await parseMessage(raw));
      expect(stream.destroyed).toBe(true);
    }
  });

  test('fails with what the stream fails with: that is no fault of the message', async () => {
    const failures: Error[] = [];
    const pool = open({ onFailure: (error) => failures.push(error) });
    await expect(pool.parse(Readable.from(failing()))).rejects.toThrow(new RangeError('the disk is gone'));
    expect(failures).toEqual([]);
    expect(await pool.parse(letter())).toMatchObject({ subject: 'hello' });
  });

  test.for([
    ['loops', 'loop', 'time_limit', { timeLimitMs: 3000 }],
    ['ends the thread', 'exit', 'crashed', {}],
  ] as const)('and %s is failed, with the header section of what was sent', async ([, subject, code, options]) => {
    const pool = openHostile(options);
    const stream = pieces(Buffer.concat([mail(`Subject: ${subject}\n\n`), large('x')]));
    expect(await pool.parse(stream)).toMatchObject({ subject, parse: { status: 'failed', warnings: [{ code }] } });
    expect(stream.destroyed).toBe(true);
    expect(await pool.parse(letter())).toMatchObject({ subject: 'hello' });
  });

  test('is not the one that pays for a slow stream', async () => {
    const pool = open({ timeLimitMs: 500 });
    let waits = 0;
    async function* slow(): AsyncGenerator<Buffer> {
      for (let at = 0; at < 4; at += 1) {
        await delay(300);
        waits += 1;
        yield Buffer.from(at === 0 ? 'Subject: patience\r\n\r\n' : 'a line\r\n');
      }
    }
    expect(await pool.parse(Readable.from(slow()))).toMatchObject({ subject: 'patience', parse: { status: 'ok' } });
    expect(waits).toBe(4);
  });

  test('is held a piece at a time, however fast it comes', async () => {
    const pool = open();
    let ahead = 0;
    let most = 0;
    async function* watched(): AsyncGenerator<Buffer> {
      for (const chunk of [
        mail('Subject: x\nContent-Type: application/pdf\n\n'),
        ...Array.from({ length: 200 }, () => Buffer.alloc(65_536, 'x')),
      ]) {
        ahead += 1;
        most = Math.max(most, ahead);
        yield chunk;
        ahead -= 1;
      }
    }
    expect(await pool.parse(Readable.from(watched(), { highWaterMark: 1 }))).toMatchObject({ subject: 'x' });
    expect(most).toBe(1);
  });
});
