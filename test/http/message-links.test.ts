import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSignedLinks } from '../../src/access/signed-links.ts';
import type { components } from '../../src/contract.gen.ts';
import { NOW_MS, startMessageApi, type MessageApi } from './message-api.ts';

type Links = components['schemas']['MessageLinks'];

const mail =
  'Subject: files\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n' +
  '--b\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\none\r\n' +
  '--b\r\nContent-Disposition: attachment; filename=b.txt\r\n\r\ntwo\r\n--b--\r\n';

let service: MessageApi;
let path: string;

beforeAll(async () => {
  service = await startMessageApi({ mails: [mail, mail, 'Subject: omitted\r\n\r\n'] });
  path = `/v1/messages/${service.messages[0]!.id}`;
});
afterAll(() => service.close());

const make = async (body: object = {}, at = path): Promise<Links> =>
  (await service.api('POST', `${at}/links`, { body })).json() as Links;
const open = (url: string, method = 'GET') => service.api(method, url, { key: null });

async function at<T>(nowMs: number, work: () => Promise<T>): Promise<T> {
  service.clock.nowMs = nowMs;
  try {
    return await work();
  } finally {
    service.clock.nowMs = NOW_MS;
  }
}

describe('200', () => {
  it('gives links to the message, its bytes and its attachments that need no key, for an hour unless asked otherwise', async () => {
    const links = await make();
    expect(links.expiresAt).toBe(new Date(NOW_MS + 3_600_000).toISOString());
    expect((await open(links.message)).asMessage().subject).toBe('files');
    expect((await open(`${links.message}&fields=id&html=none`)).json()).toEqual({ id: service.messages[0]!.id });
    expect((await open(links.raw!)).text).toBe(mail);
    expect(links.attachments.map(({ id }) => id)).toEqual(['att_1', 'att_2']);
    expect((await open(links.attachments[0]!.url)).text).toBe('one');
    expect((await open(links.attachments[1]!.url)).text).toBe('two');
    expect((await open(links.raw!, 'HEAD')).status).toBe(200);
    const ranged = await service.api('GET', links.raw!, { key: null, headers: { range: 'bytes=0-6' } });
    expect([ranged.status, ranged.text]).toEqual([206, 'Subject']);
  });

  it('has whole links where it is known where the API is', async () => {
    const other = await startMessageApi({ mails: [mail], publicUrl: 'https://mail.example.com/pop' });
    const links = (await other.api('POST', `${path}/links`, { body: { expiresInSeconds: 60 } })).json() as Links;
    for (const url of [links.message, links.raw!, ...links.attachments.map(({ url }) => url)]) {
      expect(url).toMatch(/^https:\/\/mail\.example\.com\/pop\/v1\/messages\//);
      // A proxy takes its own prefix away.
      expect((await other.api('GET', url.slice('https://mail.example.com/pop'.length), { key: null })).status).toBe(
        200,
      );
    }
    await other.close();
  });

  it('has none to bytes that were not kept', async () => {
    expect(await make({}, `/v1/messages/${service.messages[2]!.id}`)).toMatchObject({ raw: null, attachments: [] });
  });

  it('tells nobody of the address: no referrer, no cache, no log', async () => {
    const links = await make();
    for (const url of [links.message, links.raw!, links.attachments[0]!.url]) {
      const { headers } = await open(url);
      expect(headers).toMatchObject({ 'referrer-policy': 'no-referrer', 'cache-control': 'no-store' });
      expect((await open(`${url}x`)).status).toBe(401);
      expect((await service.api('GET', `${url}&unknown=1`, { key: null })).status).toBe(400);
      expect((await at(NOW_MS + 3_600_000, () => open(url))).status).toBe(401);
      expect(service.log()).not.toContain(url.split('token=')[1]!.split('.').at(-1));
    }
    expect(service.log()).toContain(`"path":"${path}/raw"`);
    expect(service.log()).not.toContain('token');
  });
});

describe('401', () => {
  it('link_expired, to the second', async () => {
    const { raw } = await make({ expiresInSeconds: 60 });
    expect((await at(NOW_MS + 59_999, () => open(raw!))).status).toBe(200);
    const late = await at(NOW_MS + 60_000, () => open(raw!));
    expect(late.asProblem()).toMatchObject({ status: 401, code: 'link_expired' });
    expect(late.headers['www-authenticate']).toMatch(/^Bearer/);
  });

  it('unauthorized for a token on any other path, and for any writing', async () => {
    const links = await make();
    const tokens = [links.message, links.raw!, links.attachments[0]!.url].map((url) => url.split('?')[1]!);
    const other = `/v1/messages/${service.messages[1]!.id}`;
    const calls = [
      ['GET', other],
      ['GET', `${other}/raw`],
      ['GET', `${path}/attachments/att_2`],
      ['GET', '/v1/messages'],
      ['DELETE', path],
      ['POST', `${path}/ack`],
      ['POST', `${path}/links`],
      ['POST', '/v1/parse'],
      ['GET', `/v1/fetches/fch_${'2'.repeat(26)}`],
      ['GET', `/v1/fetches/fch_${'2'.repeat(26)}/messages`],
    ] as const;
    for (const token of tokens) {
      for (const [method, place] of calls) {
        expect((await open(`${place}?${token}`, method)).asProblem().code).toBe('unauthorized');
      }
    }
    expect((await open(`${path}?${tokens[1]}`)).asProblem().code).toBe('unauthorized');
    expect((await open(`${path}/raw?${tokens[0]}`)).asProblem().code).toBe('unauthorized');
  });

  it('unauthorized for a token of nobody’s making, before anything else is looked at', async () => {
    const foreign = createSignedLinks([['k1', Buffer.alloc(32, 8)]], { now: () => NOW_MS });
    const forged = foreign.sign({ tenant: 'default', path, expiresAtMs: NOW_MS + 60_000 });
    for (const token of [forged, '', 'x', 'v1.k1.default.9999999999.', 'a'.repeat(5_000), '%00', '%ff']) {
      expect((await open(`${path}?token=${token}`)).asProblem().code).toBe('unauthorized');
      expect((await open(`/v1/messages/x?token=${token}&html=x`)).asProblem().code).toBe('unauthorized');
    }
    expect((await open(`${path}?TOKEN=${forged}`)).asProblem().code).toBe('unauthorized');
  });

  it('a key counts before a link: neither makes up for the other', async () => {
    const { message } = await make();
    expect((await service.api('GET', message, { key: 'another-key-altogether' })).status).toBe(401);
    expect((await service.api('GET', `${path}?token=x`)).status).toBe(200);
  });
});

describe('400, 404, 415', () => {
  it.each([
    { expiresInSeconds: 59 },
    { expiresInSeconds: 604_801 },
    { expiresInSeconds: '60' },
    { expires: 60 },
    [],
    null,
  ])('invalid_request for %j', async (body) => {
    const answer = await service.api('POST', `${path}/links`, { body: JSON.stringify(body) });
    expect(answer.asProblem().code).toBe('invalid_request');
  });

  it('not_found for no message, unsupported_media_type for no JSON', async () => {
    const none = await service.api('POST', `/v1/messages/msg_${'z'.repeat(32)}/links`, { body: {} });
    expect(none.asProblem().code).toBe('not_found');
    expect((await service.api('POST', `${path}/links`)).asProblem().code).toBe('unsupported_media_type');
  });
});
