/** Servers that reuse unique-ids, lie about sizes, or break off again and again: no mail is lost, replaced or held up by it. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { cutBody, startFakePop3, type FakePop3, type FakePop3Options } from '../support/fake-pop3.ts';
import { eventually, startService, type FetchRequestBody, type Service } from '../support/service.ts';

let service: Service;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service?.close();
});

async function fakeServer(options: FakePop3Options): Promise<FakePop3> {
  const server = await startFakePop3(options);
  onTestFinished(() => server.close());
  return server;
}

function request(server: FakePop3, more: object = {}): FetchRequestBody {
  const source = { host: server.host, port: server.port, tls: 'none', username: 'u', password: 'p' };
  return { source, ...more } as FetchRequestBody;
}

const mail = (text: string, uidl: string) => ({ uidl, raw: Buffer.from(`Subject: ${text}\r\n\r\n${text}\r\n`) });
const subjects = async (id: string) => (await service.listMessages(id)).map(({ subject }) => subject);

describe('a unique-id that is given to another mail', () => {
  it('in the next fetch does not put the new mail in the place of the old one', async () => {
    const server = await fakeServer({ mails: [mail('first', '1')] });
    const first = await service.fetchMail(request(server, { delete: 'stored' }));
    expect(server.mails).toEqual([]);
    server.mails = [mail('second', '1')];
    const second = await service.fetchMail(request(server, { delete: 'stored' }));
    expect([await subjects(first.id), await subjects(second.id)]).toEqual([['first'], ['second']]);

    server.mails = [mail('second', '1')];
    const again = await service.fetchMail(request(server));
    const ids = await Promise.all([second, again].map(async ({ id }) => (await service.listMessages(id))[0]?.id));
    expect(ids[0], 'its id is stable, too').toBe(ids[1]);
  });

  it('while the answer to QUIT was on its way is retrieved before it is deleted', { timeout: 60_000 }, async () => {
    const server = await fakeServer({ mails: [mail('1st', '1')] });
    const { dataDir, redis } = service;
    const held = server.hold('QUIT');
    const created = await service.api('POST', '/v1/fetches', { body: request(server, { delete: 'stored' }) });
    const { id } = created.asFetch();
    await held.reached;
    await service.kill('SIGKILL');
    server.mails = [mail('2nd', '1')]; // Of the same size.
    held.release();
    service = await startService({ dataDir, ...(redis && { redis }) });
    await eventually(
      async () => (await service.api('GET', `/v1/fetches/${id}`)).asFetch(),
      ({ state }) => state === 'succeeded',
      40_000,
    );
    expect(await subjects(id)).toContain('2nd');
    expect(server.mails).toEqual([]);
  });
});

describe('many bad messages', () => {
  it('larger than the server says are settled one by one, and the good ones come', async () => {
    const mails = [1, 2, 3, 4, 5, 6].map((n) => mail(`mail ${n}`, `uid-${n}`));
    const big = () => Buffer.from(`+OK\r\nSubject: big\r\n\r\n${'x'.repeat(70).concat('\r\n').repeat(60)}.\r\n`);
    const on = Object.fromEntries([1, 2, 3, 4].map((n) => [`RETR ${n}`, big]));
    const server = await fakeServer({ mails, on });
    const fetch = await service.fetchMail(request(server, { limits: { messageBytes: 2000 } }));
    expect(fetch).toMatchObject({ state: 'succeeded', counts: { retrieved: 2, omitted: 4, failed: 0 } });
    // Of those that are too large the header section tells what they are.
    expect(await subjects(fetch.id)).toEqual(['mail 1', 'mail 2', 'mail 3', 'mail 4', 'mail 5', 'mail 6']);
  });

  it('that break the session each time do not keep the good ones from coming', async () => {
    const mails = [1, 2, 3, 4, 5, 6].map((n) => mail(`mail ${n}`, `uid-${n}`));
    const on = Object.fromEntries([1, 2, 3].map((n) => [`RETR ${n}`, () => cutBody(mails[n - 1]!.raw, 3, 'close')]));
    const server = await fakeServer({ mails, on });
    const fetch = await service.fetchMail(request(server));
    expect(fetch).toMatchObject({ state: 'failed', error: { code: 'upstream_closed' }, counts: { retrieved: 3 } });
    expect(await subjects(fetch.id)).toEqual(['mail 4', 'mail 5', 'mail 6']);
  });
});

describe('deleting a fetch', () => {
  it('is refused while another fetch of the mailbox runs, which may be storing the same messages anew', async () => {
    const mails = [1, 2, 3].map((n) => mail(`mail ${n}`, `uid-${n}`));
    const server = await fakeServer({ mails });
    const first = await service.fetchMail(request(server));
    const held = server.hold('QUIT');
    const second = service.fetchMail(request(server, { delete: 'stored' }));
    await held.reached;
    const refused = await service.api('DELETE', `/v1/fetches/${first.id}`);
    expect(refused.status).toBe(409);
    expect(refused.asProblem().code).toBe('conflict');
    held.release();
    const { id, counts } = await second;
    expect(counts).toMatchObject({ retrieved: 3, deleted: 3 });
    await eventually(
      async () => (await service.api('DELETE', `/v1/fetches/${first.id}`)).status,
      (status) => status === 204,
    );
    expect(await subjects(id), 'what the later fetch has stored is its own').toHaveLength(3);
  });
});

it('a login that takes all the time of a fetch still lets it get on by one message', async () => {
  const mails = [1, 2, 3].map((n) => mail(`mail ${n}`, `uid-${n}`));
  const server = await fakeServer({ mails });
  const held = server.hold('PASS');
  const fetching = service.fetchMail(request(server, { limits: { seconds: 1 } }));
  await held.reached;
  const started = performance.now();
  await eventually(
    async () => performance.now() - started,
    (ms) => ms > 1_100,
  );
  held.release();
  const fetch = await fetching;
  expect(fetch).toMatchObject({ state: 'succeeded', limitReached: 'seconds', counts: { retrieved: 1, skipped: 2 } });
});
