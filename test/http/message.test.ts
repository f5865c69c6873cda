/** One message: fields, the forms of its HTML, its attachments, acknowledgement and deletion. Raw bytes: messages.test.ts. */
import { parse as parseDisposition } from 'content-disposition';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sanitizesAtOnceMax } from '../../src/http/limits.ts';
import { eventually } from '../support/service.ts';
import { startMessageApi, type MessageApi } from './message-api.ts';

const html = '<p onclick=x>Hi<script>x</script><img src="https://t.example/i.gif"></p>';
const HTML_HEAD = 'From: a@example.org\r\nSubject: html\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n';

/** What a sender calls a file, and what it is called here. */
const NAMES: readonly (readonly [written: string, saved: string])[] = [
  ['report.pdf', 'report.pdf'],
  ['Grüße 😀.txt', 'Grüße 😀.txt'],
  ['../../etc/passwd', '_.._etc_passwd'],
  ['..\\..\\windows\\system.ini', '_.._windows_system.ini'],
  ['/etc/passwd', '_etc_passwd'],
  ['C:\\x.exe', 'C__x.exe'],
  ['a"; filename="evil.exe', 'a_; filename=_evil.exe'],
  ['a\r\nSet-Cookie: x=1\r\n\r\n<script>.txt', 'aSet-Cookie_ x=1_script_.txt'],
  ['invoice\u202Efdp.exe', 'invoicefdp.exe'],
  ['a\u2066b\u2069\u200B\uFEFFcd\u007F.txt', 'abcd.txt'],
  ['.htaccess', 'htaccess'],
  ['...', 'att_N'],
  ['   ', 'att_N'],
  ['///', 'att_N'],
  ['setup.exe . . ', 'setup.exe'],
  ['a   b.txt', 'a b.txt'],
  ['%2e%2e%2f.txt', '%2e%2e%2f.txt'],
  [`${'a'.repeat(400)}.pdf`, `${'a'.repeat(200)}.pdf`],
  [`${'é'.repeat(180)}.pdf`, `${'é'.repeat(118)}.pdf`],
  ['😀'.repeat(100), '😀'.repeat(60)],
];

function attach(names: readonly string[]): string {
  const parts = names.map((name, index) => {
    const encoded = Array.from(Buffer.from(name), (byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    return `--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename*=UTF-8''${encoded}\r\n\r\nbytes of ${index}`;
  });
  return `Subject: files\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n${parts.join('\r\n')}\r\n--b--\r\n`;
}

let service: MessageApi;

beforeAll(async () => {
  service = await startMessageApi({
    mails: [
      `${HTML_HEAD}${html}`,
      `${HTML_HEAD}${'<b>'.repeat(5_000)}deep`,
      'Subject: text\r\n\r\nplain',
      attach(NAMES.map(([written]) => written)),
      'Subject: omitted\r\n\r\n',
    ],
  });
});
afterAll(() => service.close());

const path = (index: number): string => `/v1/messages/${service.messages[index]!.id}`;
const UNKNOWN = `/v1/messages/msg_${'z'.repeat(32)}`;

describe('GET /v1/messages/{id}', () => {
  it('is the whole message, with the paths of its bytes and of its attachments', async () => {
    const message = (await service.api('GET', path(3))).asMessage();
    const { attachments, ...rest } = service.messages[3]!;
    expect(message).toMatchObject({ ...rest, rawUrl: `${path(3)}/raw` });
    expect(message.attachments).toMatchObject(attachments);
    expect(message.attachments.map(({ url }) => url)).toEqual(
      attachments.map(({ id }) => `${path(3)}/attachments/${id}`),
    );
    expect((await service.api('GET', message.rawUrl!)).status).toBe(200);
    expect((await service.api('GET', message.attachments[2]!.url!)).text).toBe('bytes of 2');
  });

  it('has no path for bytes that were not kept, and they are not found', async () => {
    const message = (await service.api('GET', path(4))).asMessage();
    expect(message).toMatchObject({ digest: null, omitted: 'too_large' });
    expect(message).not.toHaveProperty('rawUrl');
    expect((await service.api('GET', `${path(4)}/raw`)).asProblem()).toMatchObject({
      status: 404,
      detail: expect.stringContaining('were not kept') as string,
    });
  });

  describe('?fields=', () => {
    it('gives those fields and no others, in whatever order they are asked for', async () => {
      const answer = await service.api('GET', `${path(0)}?fields=subject,id,parse`);
      expect(answer.json()).toEqual({
        id: service.messages[0]!.id,
        subject: 'html',
        parse: { status: 'ok', warnings: [] },
      });
    });

    it('of the record alone does not read the content', async () => {
      const before = service.reads.length;
      const answer = await service.api('GET', `${path(0)}?fields=id,size,acknowledgedAt,rawUrl`);
      expect(answer.json()).toEqual({
        id: service.messages[0]!.id,
        size: service.messages[0]!.size,
        acknowledgedAt: null,
        rawUrl: `${path(0)}/raw`,
      });
      expect(service.reads).toHaveLength(before);
      expect((await service.api('GET', `${UNKNOWN}?fields=id`)).status).toBe(404);
    });

    it('goes along with html=, and what is not there is left out', async () => {
      const get = async (query: string) => (await service.api('GET', `${path(0)}?${query}`)).json();
      expect(await get('fields=html,htmlOmitted&html=none')).toEqual({ html: null, htmlOmitted: 'not_wanted' });
      expect(await get('fields=html,htmlOmitted')).toEqual({ html });
      expect(await get('fields=htmlOmitted')).toEqual({});
    });

    it.each([
      'fields=',
      'fields=nothing',
      'fields=id,',
      'fields=id,Subject',
      'fields=__proto__',
      'fields=id&fields=nothing',
    ])('refuses ?%s, and says what there is', async (query) => {
      const { code, errors } = (await service.api('GET', `${path(0)}?${query}`)).asProblem();
      expect(code).toBe('invalid_request');
      expect(errors?.[0]).toMatchObject({ in: 'query', detail: expect.stringContaining('mailboxId') as string });
      expect(errors?.[0]?.pointer).toMatch(/^\/fields\/\d$/);
    });

    it('refuses more names than there are fields', async () => {
      const { errors } = (await service.api('GET', `${path(0)}?fields=${'id,'.repeat(60)}id`)).asProblem();
      expect(errors).toMatchObject([{ in: 'query', pointer: '/fields' }]);
    });
  });

  describe('?html=', () => {
    const get = async (index: number, form: string) =>
      (await service.api('GET', `${path(index)}${form && `?html=${form}`}`)).asMessage();

    it('raw, as unless asked otherwise, is what the mail has', async () => {
      for (const form of ['', 'raw']) {
        const message = await get(0, form);
        expect(message.html).toBe(html);
        expect(message).not.toHaveProperty('htmlOmitted');
      }
    });

    it('sanitized is fit to be shown, and changes nothing else', async () => {
      const message = await get(0, 'sanitized');
      expect(message.html).toBe('<p>Hi<img data-remote-src="https://t.example/i.gif" /></p>');
      expect(message).toEqual({ ...(await get(0, 'raw')), html: message.html });
    });

    it('none leaves it out, and says so where there is some', async () => {
      expect(await get(0, 'none')).toMatchObject({ html: null, htmlOmitted: 'not_wanted', subject: 'html' });
    });

    it('is null, with the reason, where it cannot be sanitised within bounds', async () => {
      expect(await get(1, 'sanitized')).toMatchObject({ html: null, htmlOmitted: 'too_deep', subject: 'html' });
    });

    it.each(['raw', 'sanitized', 'none'])('%s of a message without HTML is null, without a reason', async (form) => {
      const message = await get(2, form);
      expect(message.html).toBeNull();
      expect(message).not.toHaveProperty('htmlOmitted');
    });

    it('503 busy where too many wait for it, and again as usual once they are done', async () => {
      const waiting: (() => void)[] = [];
      const slow = await startMessageApi({
        mails: [`${HTML_HEAD}${html}`],
        async sanitize(written) {
          await new Promise<void>((resolve) => waiting.push(resolve));
          return { html: written.slice(0, 2), isCut: true };
        },
      });
      const ask = () => slow.api('GET', `/v1/messages/${slow.messages[0]!.id}?html=sanitized`);
      const calls = Array.from({ length: sanitizesAtOnceMax }, ask);
      await eventually(
        async () => waiting.length,
        (length) => length === sanitizesAtOnceMax,
      );
      expect((await ask()).asProblem()).toMatchObject({ status: 503, code: 'busy' });
      waiting.splice(0).forEach((go) => go());
      for (const answer of await Promise.all(calls)) {
        expect(answer.asMessage()).toMatchObject({ html: '<p', htmlTruncated: true });
      }
      const next = ask();
      await eventually(
        async () => waiting.length,
        (length) => length === 1,
      );
      waiting[0]!();
      expect((await next).status).toBe(200);
      await slow.close();
    });

    it('refuses any other form', async () => {
      for (const form of ['safe', 'sanitised', '']) {
        const { errors } = (await service.api('GET', `${path(0)}?html=${form}`)).asProblem();
        expect(errors).toMatchObject([{ in: 'query', pointer: '/html' }]);
      }
    });
  });
});

describe('GET /v1/messages/{id}/attachments/{id}', () => {
  const get = (id: string, headers = {}, method = 'GET') =>
    service.api(method, `${path(3)}/attachments/${id}`, { headers });

  it.each(NAMES.map(([written, saved], index) => [written, saved, index] as const))(
    'saves %j as %j',
    async (_written, saved, index) => {
      const id = `att_${index + 1}`;
      const { headers, text } = await get(id);
      expect(text).toBe(`bytes of ${index}`);
      const written = headers['content-disposition']!;
      expect(written).toMatch(/^attachment; filename/);
      expect(written).toMatch(/^[ -~]+$/);
      expect(parseDisposition(written).parameters['filename']).toBe(saved.replace('att_N', id));
      // The plain form, for those who do not know the other one, has no more in it.
      expect(/filename="?([^";]*)/.exec(written)?.[1]).not.toMatch(/[/\\:<>|*"\x00-\x1f]/);
    },
  );

  it('is a download that no browser runs, shows or tells of', async () => {
    expect((await get('att_1')).headers).toMatchObject({
      'content-type': 'text/html',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
    });
  });

  it('has its digest for an ETag, and its size', async () => {
    const { sha256, size } = service.messages[3]!.attachments[0]!;
    const { headers } = await get('att_1');
    expect(headers).toMatchObject({ etag: `"${sha256}"`, 'content-length': String(size), 'accept-ranges': 'bytes' });
    expect((await get('att_1', {}, 'HEAD')).headers).toMatchObject({
      etag: `"${sha256}"`,
      'content-length': String(size),
    });
  });

  it('206 for a range, 416 for one that is not there, 304 for what the caller has', async () => {
    const etag = `"${service.messages[3]!.attachments[0]!.sha256}"`;
    const part = await get('att_1', { range: 'bytes=6-7', 'if-range': etag });
    expect([part.status, part.text, part.headers['content-range']]).toEqual([206, 'of', 'bytes 6-7/10']);
    expect((await get('att_1', { range: 'bytes=6-7', 'if-range': '"other"' })).status).toBe(200);
    const beyond = await get('att_1', { range: 'bytes=99-' });
    expect([beyond.asProblem().code, beyond.headers['content-range']]).toEqual(['range_not_satisfiable', 'bytes */10']);
    const known = await get('att_1', { 'if-none-match': etag });
    expect([known.status, known.bytes.length]).toEqual([304, 0]);
  });

  it('404 for what is not there', async () => {
    for (const id of ['att_0', 'att_21', 'att_99999']) expect((await get(id)).asProblem().code).toBe('not_found');
    expect((await service.api('GET', `${UNKNOWN}/attachments/att_1`)).asProblem().code).toBe('not_found');
  });
});

describe('POST /v1/messages/{id}/ack', () => {
  it('200 with the time of the first one, however often it is asked', async () => {
    const { id } = service.messages[2]!;
    const first = await service.api('POST', `${path(2)}/ack`);
    expect([first.status, first.json()]).toEqual([200, { id, acknowledgedAt: '2026-11-23T12:00:00.000Z' }]);
    service.clock.nowMs += 5_000;
    expect((await service.api('POST', `${path(2)}/ack`)).json()).toEqual(first.json());
    expect((await service.api('GET', path(2))).asMessage().acknowledgedAt).toBe('2026-11-23T12:00:00.000Z');
  });

  it('404 for no message, 400 for no id, 401 without a key', async () => {
    expect((await service.api('POST', `${UNKNOWN}/ack`)).asProblem().code).toBe('not_found');
    expect((await service.api('POST', '/v1/messages/x/ack')).asProblem().code).toBe('invalid_request');
    expect((await service.api('POST', `${path(2)}/ack`, { key: null })).asProblem().code).toBe('unauthorized');
  });
});

describe('DELETE /v1/messages/{id}', () => {
  it('204 once, and 404 from then on', async () => {
    const other = await startMessageApi({ mails: ['Subject: one\r\n\r\n1'] });
    const only = `/v1/messages/${other.messages[0]!.id}`;
    const gone = await other.api('DELETE', only);
    expect([gone.status, gone.bytes.length]).toEqual([204, 0]);
    for (const [method, place] of [
      ['DELETE', ''],
      ['GET', ''],
      ['GET', '/raw'],
      ['POST', '/ack'],
    ] as const) {
      expect((await other.api(method, only + place)).asProblem().code).toBe('not_found');
    }
    await other.close();
  });

  it('400 for no id, 401 without a key', async () => {
    expect((await service.api('DELETE', '/v1/messages/x')).asProblem().code).toBe('invalid_request');
    expect((await service.api('DELETE', path(0), { key: null })).asProblem().code).toBe('unauthorized');
  });
});
