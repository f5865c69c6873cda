/** Every type of event, as it is sent: over HTTP, with the payload that is really built, and held against the contract. */
import { expect, test } from 'vitest';
import type { components } from '../../src/contract.gen.ts';
import { describeEvent, type EventFacts, type EventRef, type EventType } from '../../src/event/event.ts';
import { EVENT_TYPES } from '../../src/event/event-types.ts';
import { buildPayload, tellWhole } from '../../src/event/payload.ts';
import type { WebhookReceiver } from '../../src/sandbox/webhook-receiver.ts';
import { disabledAfterMs } from '../../src/webhook/limits.ts';
import { sendTest } from '../../src/webhook/trial.ts';
import { createContractChecker } from '../support/contract.ts';
import { makeStoredMessage } from '../support/stored-message.ts';
import { received, TENANT, useDelivering } from './delivering.ts';
import { useReceivers } from './receivers.ts';
import { useSender } from './sender-fixture.ts';

type EventBody = components['schemas']['Event'];

const it = useDelivering();
const { makeSender } = useSender();
const WAIT_MS = 15_000;
const { checkWebhook } = createContractChecker();

const receive = useReceivers();

const raw = Buffer.from('Subject: one\r\nFrom: a@example.com\r\n\r\nText.\r\n');
const findMessage = async (_tenant: string, id: string) => makeStoredMessage(raw, { id });
const realPayload = (event: EventRef) => buildPayload(tellWhole({ find: findMessage }), event);

/** What came, each checked, by type. */
function typesAt(receiver: WebhookReceiver): string[] {
  return receiver.received.map((webhook) => {
    checkWebhook(webhook);
    return (JSON.parse(webhook.body.toString()) as EventBody).type;
  });
}

test('of mail, fetches and mailboxes', async () => {
  const counts = { retrieved: 1, omitted: 0, skipped: 0, filtered: 0, failed: 0, deleted: 0 };
  const since = '2026-11-23T12:00:00.000Z';
  const change = { since, failure: { code: 'upstream_locked', phase: 'login' } };
  const facts = {
    'message.received': {},
    'message.skipped': { uidl: 'a', reason: 'filter_size', bytes: null },
    'message.deleted_upstream': {},
    'fetch.succeeded': { counts },
    'fetch.failed': { counts, error: { code: 'upstream_locked', phase: null } },
    'mailbox.recovered': { since, failure: null },
    'mailbox.retrying': change,
    'mailbox.needs_credentials': change,
    'mailbox.blocked': change,
    'mailbox.paused': { since, failure: null },
    'mailbox.warning': { code: 'mail_expires', since },
  } satisfies Partial<EventFacts>;
  const types = Object.keys(facts) as (keyof typeof facts)[];
  expect(types).toEqual(EVENT_TYPES.filter((type) => !/^(webhook|delivery)\./.test(type)));

  const receiver = await receive();
  const webhook = await it.make(receiver.url, { isOrdered: true });
  const { tenant, mailboxId, fetchId, subject } = received(1);
  for (const [at, type] of types.entries()) {
    const about = { tenant, mailboxId, fetchId, subject, time: since, facts: facts[type] as never };
    await it.announce({ ...describeEvent(type, about), sequence: at + 1 });
  }
  it.start({ buildPayload: realPayload });
  await receiver.waitFor(types.length, WAIT_MS);
  expect(typesAt(receiver)).toEqual(types);
  expect(webhook.settings.events).toEqual(['*']);
});

test('of webhooks and deliveries, as each comes about', async () => {
  let isDead = true;
  const endpoint = await receive({ answer: () => (isDead ? 500 : 204) });
  const gone = await receive({ answer: () => 410 });
  const watcher = await receive();
  const failing = await it.make(endpoint.url, { events: ['message.*'] });
  const leaving = await it.make(gone.url, { events: ['message.*'] });
  const watching = await it.make(watcher.url, { events: ['webhook.*', 'delivery.*'] });
  it.start({ buildPayload: realPayload, retryDelaysMs: [10, 10, 10, 10, 10, 10, 10, 10] });
  const seen = async (type: EventType, count = 1): Promise<void> => {
    const countNow = () => typesAt(watcher).filter((each) => each === type).length;
    await expect.poll(countNow, { timeout: WAIT_MS }).toBe(count);
  };

  await it.announce(received(1));
  await seen('webhook.disabled'); // By 410.
  await seen('delivery.exhausted');
  for (const [at, share] of [0.55, 0.75, 0.95].entries()) {
    it.clock.aheadMs = share * disabledAfterMs;
    await it.announce(received(10 + at));
    await seen('webhook.failing', at + 1);
  }
  it.clock.aheadMs = 1.01 * disabledAfterMs;
  await it.announce(received(20));
  await seen('webhook.disabled', 2);
  isDead = false;
  await it.service.change(failing, { settings: {}, isDisabled: false });
  await it.announce(received(30));
  await seen('webhook.recovered');
  const { clock, webhooks } = it;
  await sendTest({ clock, webhooks, buildPayload: realPayload, post: makeSender().post }, watching);
  await seen('webhook.test');

  expect(new Set(typesAt(watcher))).toEqual(new Set(EVENT_TYPES.filter((type) => /^(webhook|delivery)\./.test(type))));
  const bodies = watcher.received.map(({ body }) => JSON.parse(body.toString()) as EventBody);
  const percents = bodies.flatMap((body) => (body.type === 'webhook.failing' ? [body.data.percent] : []));
  expect(percents).toEqual([50, 70, 90]);
  const reasons = bodies.flatMap((body) =>
    body.type === 'webhook.disabled' ? [[body.subject, body.data.reason]] : [],
  );
  expect(reasons).toEqual([
    [leaving.id, 'gone'],
    [failing.id, 'failing'],
  ]);
  expect(new Set(bodies.map(({ tenant }) => tenant))).toEqual(new Set([TENANT]));
});
