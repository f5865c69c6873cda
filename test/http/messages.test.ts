import { parse as parseDisposition } from 'content-disposition';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startSandboxPop3, type SandboxPop3 } from '../../src/sandbox/pop3-server.ts';
import { openFiles } from '../support/open-files.ts';
import { eventually, startService, type MessageBody, type Service } from '../support/service.ts';

/** What a browser must be told of untrusted bytes. */
const UNTRUSTED = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
  'cache-control': 'no-store',
};
const UNKNOWN = `msg_${'0'.repeat(32)}`;

/** Each part is hostile in its own way; the body of each is its place in the list. */
const HOSTILE_PARTS: readonly (readonly [header: string, filename: string | null, contentType: string])[] = [
  ['Content-Type: text/html\r\nContent-Disposition: attachment; filename="page.html"', 'page.html', 'text/html'],
  ['Content-Type: image/svg+xml\r\nContent-Disposition: attachment; filename="a.svg"', 'a.svg', 'image/svg+xml'],
  ["Content-Disposition: attachment; filename*=UTF-8''%E2%82%AC%20rates%20%F0%9F%98%80.pdf", '€ rates 😀.pdf', ''],
  ['Content-Disposition: attachment; filename="=?utf-8?B?R3LDvMOfZS50eHQ=?="', 'Grüße.txt', ''],
  ['Content-Disposition: attachment; filename="../../etc/passwd"', '_.._etc_passwd', ''],
  ['Content-Disposition: attachment; filename="a\\"; x=\\"\\\\b.txt"', 'a_; x=__b.txt', ''],
  ["Content-Disposition: attachment; filename*=UTF-8''a%0D%0ASet-Cookie:%20evil=1%0D%0A%0D%0A.txt", null, ''],
  ['Content-Disposition: attachment; filename="=?utf-8?Q?b=0D=0ASet-Cookie:_evil=3D1?="', null, ''],
  ["Content-Disposition: attachment; filename*=UTF-8''nul%00here%E2%80%AEfdp.exe", null, ''],
  [`Content-Disposition: attachment; filename="${'long'.repeat(200)}.txt"`, null, ''],
  ['Content-Type: text/html\x01;\x02evil\r\nContent-Disposition: attachment; filename="%0d%0a.bin"', '%0d%0a.bin', ''],
  ['Content-Type: =?utf-8?Q?text/html=0D=0ASet-Cookie:_evil=3D1?=\r\nContent-Disposition: attachment', null, ''],
  ["Content-Disposition: attachment; filename*=UTF-16''%D8%00%00.txt", null, ''],
];

const hostile = Buffer.from(
  [
    'From: a@example.org\r\nSubject: hostile\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n',
    ...HOSTILE_PARTS.map(([header], index) => `--b\r\n${header}\r\n\r\npart ${index}\r\n`),
    '--b--\r\n',
  ].join(''),
  'latin1',
);
/** More than the sockets and streams between a file and its reader take in by themselves. */
const large = Buffer.from(
  [
    'From: a@example.org\r\nSubject: large\r\nContent-Type: application/octet-stream\r\n',
    'Content-Disposition: attachment; filename=large.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n',
    `${'A'.repeat(76)}\r\n`.repeat(100_000),
  ].join(''),
);
const winmail = readFileSync(new URL('../mime/corpus/mailer-outlook-winmail-dat.eml', import.meta.url));
const mails = [large, ...sandboxMails().map(({ raw }) => raw), winmail, hostile];

let service: Service;
let pop3: SandboxPop3;
let fetchId: string;
let messages: MessageBody[];

beforeAll(async () => {
  [service, pop3] = await Promise.all([startService(), startSandboxPop3({ user: 'ann', password: 'pw', mails })]);
  const { host, port } = pop3;
  const fetch = await service.fetchMail({ source: { host, port, tls: 'none', username: 'ann', password: 'pw' } });
  fetchId = fetch.id;
  messages = await service.listMessages(fetchId);
});

afterAll(async () => {
  await service?.close();
  await pop3?.close();
});

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const page = (query: string) => service.api('GET', `/v1/fetches/${fetchId}/messages${query}`);

describe('GET /v1/fetches/{id}/messages', () => {
  it('lists each message once, in maildrop order, whatever the size of a page', async () => {
    expect(messages.map((message) => message.digest)).toEqual(mails.map(digest));
    for (const limit of [1, 5, mails.length]) {
      const seen: string[] = [];
      const sizes: number[] = [];
      for (let cursor: string | null = ''; cursor !== null;) {
        const { items, nextCursor } = (await page(`?limit=${limit}${cursor && `&cursor=${cursor}`}`)).asPage();
        seen.push(...items.map(({ id }) => id));
        sizes.push(items.length);
        cursor = nextCursor;
      }
      expect(seen).toEqual(messages.map(({ id }) => id));
      expect(Math.max(...sizes)).toBe(limit);
      expect(sizes).toHaveLength(Math.ceil(mails.length / limit));
    }
  });

  it('ends a page early where there is much text, and gives all of it over the pages', async () => {
    const long = Array.from({ length: 8 }, (_, n) =>
      Buffer.from(`Subject: ${n}\r\n\r\n${'x'.repeat(998).concat('\r\n').repeat(1_000)}`),
    );
    const server = await startSandboxPop3({ user: 'ann', password: 'pw', mails: long });
    const { host, port } = server;
    const { id } = await service.fetchMail({ source: { host, port, tls: 'none', username: 'ann', password: 'pw' } });
    await server.close();
    const first = (await service.api('GET', `/v1/fetches/${id}/messages?limit=100`)).asPage();
    expect(first.items.length).toBeLessThan(8);
    expect((await service.listMessages(id)).map(({ subject }) => subject)).toEqual(long.map((_, n) => String(n)));
  });

  it('has an empty last page past the end', async () => {
    expect((await page('?cursor=9999999999')).asPage()).toEqual({ items: [], nextCursor: null });
  });

  it.each([
    'limit=0',
    'limit=101',
    'limit=-1',
    'limit=1.5',
    'limit=many',
    'limit=',
    'cursor=',
    'cursor=-1',
    'cursor=a',
    'cursor=12345678901',
    'offset=1',
  ])('refuses ?%s', async (query) => {
    const { code, errors } = (await page(`?${query}`)).asProblem();
    expect(code).toBe('invalid_request');
    expect(errors).toMatchObject([{ in: 'query', pointer: `/${query.split('=')[0]}` }]);
  });
});

describe('GET /v1/messages/{id}', () => {
  it('is the message as its page has it', async () => {
    for (const message of messages) {
      expect((await service.api('GET', `/v1/messages/${message.id}`)).asMessage()).toEqual(message);
    }
  });

  it('raw gives the bytes that the server held, as a download, with their digest for an ETag', async () => {
    for (const [index, { id, size }] of messages.entries()) {
      const raw = await service.api('GET', `/v1/messages/${id}/raw`);
      expect(raw.status).toBe(200);
      expect(raw.bytes.equals(mails[index]!)).toBe(true);
      expect(raw.headers).toMatchObject({
        ...UNTRUSTED,
        'content-type': 'message/rfc822',
        'content-length': String(size),
        'content-disposition': `attachment; filename=${id}.eml`,
        etag: `"${digest(mails[index]!)}"`,
      });
    }
  });

  describe('raw, in part', () => {
    const ask = (headers: Record<string, string>, method = 'GET') =>
      service.api(method, `/v1/messages/${messages[0]!.id}/raw`, { headers });
    const whole = (): Buffer => mails[0]!;
    const etag = (): string => `"${digest(whole())}"`;

    it.each([
      ['bytes=0-0', 0, 0],
      ['bytes=10-19', 10, 19],
      ['bytes=10-', 10, Infinity],
      ['bytes=-5', -5, Infinity],
      ['bytes=5-99999999', 5, Infinity],
      ['bytes=-99999999', 0, Infinity],
    ])('206 for %s, with those bytes and where they stand', async (range, from, to) => {
      const { length } = whole();
      const start = from < 0 ? length + from : from;
      const end = Math.min(to, length - 1);
      const { status, bytes, headers } = await ask({ range });
      expect(status).toBe(206);
      expect(bytes.equals(whole().subarray(start, end + 1))).toBe(true);
      expect(headers).toMatchObject({
        ...UNTRUSTED,
        'content-range': `bytes ${start}-${end}/${length}`,
        'content-length': String(end + 1 - start),
        etag: etag(),
      });
    });

    it.each(['bytes=5-1', 'bytes=', 'bytes=a-b', 'lines=0-1', 'bytes=0-1,4-5', 'nonsense'])(
      'the whole for %s, which is no single range',
      async (range) => {
        const { status, bytes, headers } = await ask({ range });
        expect([status, bytes.equals(whole()), headers['content-range']]).toEqual([200, true, undefined]);
      },
    );

    it.each(['bytes=99999999-', 'bytes=-0'])('416 for %s, with how many bytes there are', async (range) => {
      const refused = await ask({ range });
      expect(refused.asProblem()).toMatchObject({ status: 416, code: 'range_not_satisfiable' });
      expect(refused.headers['content-range']).toBe(`bytes */${whole().length}`);
    });

    it('the whole where If-Range names other bytes than these', async () => {
      expect((await ask({ range: 'bytes=0-1', 'if-range': etag() })).status).toBe(206);
      expect((await ask({ range: 'bytes=0-1', 'if-range': '"other"' })).bytes.equals(whole())).toBe(true);
      expect((await ask({ range: 'bytes=0-1', 'if-range': `W/${etag()}` })).status).toBe(200);
    });

    it('304 without a body where If-None-Match names them, before any range', async () => {
      for (const tags of [etag(), `W/${etag()}`, `"a", ${etag()}`, '*']) {
        const { status, bytes, headers } = await ask({ 'if-none-match': tags, range: 'bytes=99999999-' });
        expect([status, bytes.length, headers['etag']]).toEqual([304, 0, etag()]);
      }
      expect((await ask({ 'if-none-match': '"other"' })).status).toBe(200);
    });

    it('HEAD tells the size, whatever range it names', async () => {
      const { status, headers } = await ask({ range: 'bytes=0-1' }, 'HEAD');
      expect([status, headers['content-length'], headers['accept-ranges']]).toEqual([
        200,
        String(whole().length),
        'bytes',
      ]);
    });
  });

  it('404 for what is not there, and 400 for what is no id', async () => {
    const [{ id }] = messages as [MessageBody];
    for (const path of [UNKNOWN, `${UNKNOWN}/raw`, `${UNKNOWN}/attachments/att_1`, `${id}/attachments/att_99999`]) {
      expect((await service.api('GET', `/v1/messages/${path}`)).asProblem().code).toBe('not_found');
    }
    for (const path of [
      'msg_1',
      fetchId,
      `${UNKNOWN}%00`,
      '%2e%2e%2f%2e%2e%2fmaster-keys/raw',
      `${id}/attachments/1`,
      `${id}/attachments/att_1%2f..`,
      `${id}/attachments/att_-1`,
      '%FF/raw',
    ]) {
      expect((await service.api('GET', `/v1/messages/${path}`)).asProblem().code).toBe('invalid_request');
    }
  });

  it('401 without a key', async () => {
    for (const path of ['', '/raw', '/attachments/att_1']) {
      const answer = await service.api('GET', `/v1/messages/${messages[0]!.id}${path}`, { key: null });
      expect(answer.asProblem().code).toBe('unauthorized');
    }
  });
});

describe('GET /v1/messages/{id}/attachments/{id}', () => {
  it('gives the decoded bytes of every attachment, of the digest and the size that the message tells', async () => {
    const ids = messages.flatMap(({ attachments }) => attachments.map(({ id }) => id));
    expect(ids).toContain('att_1.1');
    let count = 0;
    for (const { id, attachments } of messages) {
      for (const attachment of attachments) {
        const { status, bytes } = await service.api('GET', `/v1/messages/${id}/attachments/${attachment.id}`);
        expect(status).toBe(200);
        expect([bytes.length, digest(bytes)]).toEqual([attachment.size, attachment.sha256]);
        count += 1;
      }
    }
    expect(count).toBeGreaterThan(HOSTILE_PARTS.length);
  });

  it('is a download that no browser runs, whatever name and type the mail gives it', async () => {
    const { id, attachments } = messages.at(-1)!;
    expect(attachments).toHaveLength(HOSTILE_PARTS.length);
    for (const [index, [, filename, contentType]] of HOSTILE_PARTS.entries()) {
      const attachment = attachments[index]!;
      const { bytes, headers } = await service.api('GET', `/v1/messages/${id}/attachments/${attachment.id}`);
      expect(bytes.toString().trimEnd()).toBe(`part ${index}`);
      // Where the mail gives none that can be used it is guessed from the name.
      expect(headers).toMatchObject({ ...UNTRUSTED, 'content-type': contentType || attachment.contentType });
      expect(attachment.contentType).toMatch(/^[a-z0-9.+-]+\/[a-z0-9.+-]+$/);
      expect(Object.keys(headers).sort()).toEqual(ATTACHMENT_HEADERS);
      const { type, parameters } = parseDisposition(headers['content-disposition']!);
      expect(type).toBe('attachment');
      if (filename !== null) expect(parameters['filename']).toBe(filename);
      expect(JSON.stringify(headers)).not.toMatch(/[^ -~]/);
    }
  });
});

describe('an attachment, in part', () => {
  it('is the same bytes as of the whole, wherever they are cut, and 304 where the caller has them', async () => {
    const [message] = messages as [MessageBody];
    const [{ id, size, sha256 }] = message.attachments as [MessageBody['attachments'][number]];
    const ask = (headers: Record<string, string>) =>
      service.api('GET', `/v1/messages/${message.id}/attachments/${id}`, { headers });
    const whole = (await ask({})).bytes;
    for (const [start, end] of [
      [0, 0],
      [1, 65_536],
      [size - 1, size - 1],
      [size >> 1, size - 1],
    ] as const) {
      const part = await ask({ range: `bytes=${start}-${end}`, 'if-range': `"${sha256}"` });
      expect([part.status, part.headers['content-range']]).toEqual([206, `bytes ${start}-${end}/${size}`]);
      expect(part.bytes.equals(whole.subarray(start, end + 1))).toBe(true);
    }
    expect((await ask({ range: `bytes=${size}-` })).asProblem().code).toBe('range_not_satisfiable');
    expect((await ask({ 'if-none-match': `"${sha256}"` })).status).toBe(304);
  });
});

describe('an answer that is not read to its end', () => {
  const placesOf = ({ id, attachments }: MessageBody): string[] => [
    `/v1/messages/${id}/raw`,
    `/v1/messages/${id}/attachments/${attachments[0]!.id}`,
  ];

  it('HEAD is answered as GET without the body, and leaves no file open', async () => {
    for (const path of [...placesOf(messages[0]!), ...placesOf(messages.at(-1)!), `/v1/messages/${messages[0]!.id}`]) {
      const [got, head] = [await service.api('GET', path), await service.api('HEAD', path)];
      expect([head.status, head.bytes.length]).toEqual([200, 0]);
      expect(head.headers['content-type']).toBe(got.headers['content-type']);
      expect(head.headers.etag).toBe(got.headers.etag);
    }
    await eventually(openBlobs, (files) => files.length === 0, 3_000);
  });

  it('a caller who goes away midway leaves no file open', async () => {
    for (const path of placesOf(messages[0]!)) {
      const gone = new AbortController();
      const headers = { authorization: `Bearer ${service.operatorKey}` };
      const { body } = await fetch(service.url + path, { headers, signal: gone.signal });
      await body!.getReader().read();
      gone.abort();
    }
    await eventually(openBlobs, (files) => files.length === 0, 3_000);
  });
});

const ATTACHMENT_HEADERS = [
  'accept-ranges',
  'cache-control',
  'connection',
  'content-disposition',
  'content-length',
  'content-security-policy',
  'content-type',
  'date',
  'etag',
  'referrer-policy',
  'x-content-type-options',
  'x-request-id',
];

/** The blobs that the service holds open; none where there is no /proc to tell. */
async function openBlobs(): Promise<string[]> {
  return (await openFiles(service.pid)).filter((path) => path.includes('/blobs/'));
}
