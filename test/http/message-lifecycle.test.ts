/** Messages over the real service, on two replicas: what one of them stores, acknowledges, signs or deletes is so for the other. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { startSandboxPop3, type SandboxPop3 } from '../../src/sandbox/pop3-server.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { startService, type MessageBody, type Service } from '../support/service.ts';

type Summary = components['schemas']['MessageSummary'];
type Links = components['schemas']['MessageLinks'];

let redis: TestRedis;
let one: Service;
let other: Service;
let pop3: SandboxPop3;
let fetchId: string;
let messages: MessageBody[];

beforeAll(async () => {
  redis = await startRedis();
  one = await startService({ redis });
  const mails = sandboxMails().map(({ raw }) => raw);
  [other, pop3] = await Promise.all([
    startService({ redis, dataDir: one.dataDir, env: { POPBRIDGE_ROLE: 'api' } }),
    startSandboxPop3({ user: 'ann', password: 'pw', mails }),
  ]);
  const { host, port } = pop3;
  fetchId = (await one.fetchMail({ source: { host, port, tls: 'none', username: 'ann', password: 'pw' } })).id;
  messages = await one.listMessages(fetchId);
});

afterAll(async () => {
  await other?.close();
  await one?.close();
  await pop3?.close();
  await redis?.close();
});

async function list(query = '', limit = 100): Promise<Summary[]> {
  const all: Summary[] = [];
  for (let cursor = ''; ;) {
    const page = await other.api('GET', `/v1/messages?limit=${limit}${query && `&${query}`}${cursor}`);
    expect(page.status).toBe(200);
    const { items, nextCursor } = page.json() as { items: Summary[]; nextCursor: string | null };
    expect(items.length).toBeLessThanOrEqual(limit);
    all.push(...items);
    if (nextCursor === null) return all;
    cursor = `&cursor=${nextCursor}`;
  }
}
const idsOf = (list: readonly { id: string }[]): string[] => list.map(({ id }) => id).toSorted();

it('the list has each message once, whatever the size of a page, and says of it what the message says', async () => {
  const all = await list();
  expect(idsOf(all)).toEqual(idsOf(messages));
  expect((await list('', 3)).map(({ id }) => id)).toEqual(all.map(({ id }) => id));
  expect((await list('order=oldest')).map(({ id }) => id)).toEqual(all.map(({ id }) => id).toReversed());
  for (const summary of all) {
    const message = messages.find(({ id }) => id === summary.id)!;
    const { mailboxId, uidl, size, digest, fetchedAt, subject, date } = message;
    expect(summary).toMatchObject({ mailboxId, fetchId, uidl, size, digest, fetchedAt, subject, date });
    expect(summary).toMatchObject({
      from: message.from.slice(0, 10),
      to: message.to.slice(0, 10),
      attachmentCount: message.attachments.length,
      parseStatus: message.parse.status,
    });
  }
});

it('each filter gives those messages that it should, and filters add up', async () => {
  const having = (isWanted: (message: MessageBody) => boolean): string[] => idsOf(messages.filter(isWanted));
  const withAttachment = having(({ attachments }) => attachments.length > 0);
  expect(withAttachment.length).toBeGreaterThan(0);
  expect(idsOf(await list('hasAttachment=true'))).toEqual(withAttachment);
  expect(idsOf(await list('hasAttachment=false'))).toEqual(having(({ attachments }) => attachments.length === 0));

  const { subject, mailboxId } = messages.find((message) => (message.subject?.length ?? 0) > 5)!;
  const part = subject!.slice(1, 5).toUpperCase();
  const bySubject = having((message) => message.subject?.toUpperCase().includes(part) ?? false);
  expect(idsOf(await list(`subject=${encodeURIComponent(part)}`))).toEqual(bySubject);
  const address = messages.find(({ from }) => from[0]?.address)!.from[0]!.address!;
  expect(idsOf(await list(`from=${encodeURIComponent(address.toUpperCase())}`))).toEqual(
    having(({ from }) => from.some((sender) => sender.address?.includes(address))),
  );
  expect(idsOf(await list(`mailbox=${mailboxId}&fetch=${fetchId}`))).toEqual(idsOf(messages));
  expect(await list(`mailbox=mbx_${'0'.repeat(32)}`)).toEqual([]);
  expect(await list(`fetch=fch_${'0'.repeat(26)}`)).toEqual([]);
  expect(await list('fetchedUntil=2020-01-01T00:00:00Z')).toEqual([]);
  expect(idsOf(await list('fetchedSince=2020-01-01T00:00:00Z'))).toEqual(idsOf(messages));
  expect(idsOf(await list(`subject=${encodeURIComponent(part)}&hasAttachment=true`))).toEqual(
    bySubject.filter((id) => withAttachment.includes(id)),
  );
});

it('what one replica acknowledges is acknowledged for the other, once', async () => {
  const { id } = messages[0]!;
  const first = await one.api('POST', `/v1/messages/${id}/ack`);
  expect(first.status).toBe(200);
  expect((await other.api('POST', `/v1/messages/${id}/ack`)).json()).toEqual(first.json());
  const { acknowledgedAt } = first.json() as { acknowledgedAt: string };
  expect((await other.api('GET', `/v1/messages/${id}`)).asMessage().acknowledgedAt).toBe(acknowledgedAt);
  expect(await list('acknowledged=true')).toMatchObject([{ id, acknowledgedAt }]);
  expect(idsOf(await list('acknowledged=false'))).toEqual(idsOf(messages.slice(1)));
});

it('what one replica signs opens at the other, and what one deletes is gone for both, links and all', async () => {
  const { id, attachments } = messages.find((message) => message.attachments.length > 0)!;
  const links = (await one.api('POST', `/v1/messages/${id}/links`, { body: {} })).json() as Links;
  expect(links.attachments.map((link) => link.id)).toEqual(attachments.map((attachment) => attachment.id));
  const urls = [links.message, links.raw!, ...links.attachments.map(({ url }) => url)];
  for (const url of urls) expect((await other.api('GET', url, { key: null })).status).toBe(200);

  expect((await one.api('DELETE', `/v1/messages/${id}`)).status).toBe(204);
  expect((await other.api('DELETE', `/v1/messages/${id}`)).asProblem().code).toBe('not_found');
  for (const url of urls) expect((await other.api('GET', url, { key: null })).status).toBe(404);
  expect(idsOf(await list())).not.toContain(id);
  expect((await other.api('GET', `/v1/messages/${id}?fields=id`)).status).toBe(404);
  expect(idsOf(await one.listMessages(fetchId))).not.toContain(id);
});
