import { describe, expect, test } from 'vitest';
import { describeEvent, messageReceived, type EventFacts, type EventRef } from '../../src/event/event.ts';
import { EVENT_TYPES } from '../../src/event/event-types.ts';
import { bodyCharsMax } from '../../src/event/limits.ts';
import { buildEnvelope, buildPayload, tellBriefly, tellWhole } from '../../src/event/payload.ts';
import { summarise } from '../../src/message/summary.ts';
import type { Message } from '../../src/message/message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { sandboxMails } from '../../src/sandbox/mails.ts';
import { createContractChecker } from '../support/contract.ts';
import { makeStoredMessage } from '../support/stored-message.ts';

const MESSAGE_ID = `msg_${'0'.repeat(32)}`;
const SUBJECT = {
  tenant: 'default',
  mailboxId: `mbx_${'1'.repeat(32)}`,
  fetchId: `fch_${'2'.repeat(26)}`,
  messageId: MESSAGE_ID,
};
const TIME = '2026-11-23T12:00:00.000Z';
const EVENT: EventRef = { ...messageReceived({ ...SUBJECT, time: TIME }), sequence: 1 };
const contract = createContractChecker();
/** The one mail of all that has text and HTML. */
const MAIL = sandboxMails().find(({ raw }) => raw.includes('text/plain') && raw.includes('text/html'))!;

const makeMessage = (raw: Buffer, over: Partial<Message> = {}): Promise<Message> =>
  makeStoredMessage(raw, { id: MESSAGE_ID, mailboxId: SUBJECT.mailboxId, fetchId: SUBJECT.fetchId, ...over });

async function build(message: Message): Promise<{ json: string; message: Message }> {
  const json = await buildPayload(tellWhole({ find: async () => message }), EVENT);
  return { json: json ?? '', message: (JSON.parse(json ?? '') as { data: { message: Message } }).data.message };
}

describe('an event', () => {
  test('has the same id whenever and wherever the same thing happens: this one, for all time', () => {
    expect(EVENT.id).toBe('evt_qjj4pex1zj3nw7wfx528e8ggcjywbeqb');
    expect(messageReceived({ ...SUBJECT, fetchId: 'fch_other', time: 'later' }).id).toBe(EVENT.id);
    expect(messageReceived({ ...SUBJECT, messageId: 'msg_other', time: TIME }).id).not.toBe(EVENT.id);
  });

  test('is passed on as ids alone', () => {
    const { messageId, ...of } = SUBJECT;
    const more = { ...SUBJECT, time: TIME, id: 'evt_other', password: 'p' };
    expect(messageReceived(more)).toEqual({
      id: EVENT.id,
      type: 'message.received',
      ...of,
      subject: messageId,
      time: TIME,
      facts: {},
    });
  });
});

describe('the payload of message.received', () => {
  test.each(sandboxMails().map(({ raw }, index) => [index + 1, raw] as const))(
    'keeps to the contract for sandbox mail %i',
    async (_number, raw) => {
      const { json } = await build(await makeMessage(raw));
      const headers = {
        'content-type': 'application/json',
        'webhook-id': EVENT.id,
        'webhook-timestamp': '1795435200',
        'webhook-signature': 'v1,AAAA',
      };
      contract.checkWebhook({ headers, body: Buffer.from(json) });
    },
  );

  test('is the message as it is stored, byte for byte the same on every attempt', async () => {
    const message = await makeMessage(MAIL.raw);
    const first = await build(message);
    expect(first.message).toEqual(message);
    expect((await build(message)).json).toBe(first.json);
    expect(JSON.parse(first.json)).toMatchObject({
      specversion: '1.0',
      id: EVENT.id,
      source: 'urn:popbridge:default',
      type: 'message.received',
      time: TIME,
      subject: MESSAGE_ID,
      datacontenttype: 'application/json',
      tenant: 'default',
      mailbox: SUBJECT.mailboxId,
      fetch: SUBJECT.fetchId,
      sequence: '000000000001',
    });
  });

  test('is null where the message has been deleted since, and asks for it by the tenant of the event', async () => {
    const asked: string[] = [];
    const find = async (tenant: string, id: string): Promise<null> => {
      asked.push(tenant, id);
      return null;
    };
    expect(await buildPayload(tellWhole({ find }), EVENT)).toBeNull();
    expect(asked).toEqual(['default', MESSAGE_ID]);
    const envelope = await buildEnvelope(tellWhole({ find }), EVENT);
    expect(envelope).toMatchObject({ id: EVENT.id, data: { message: null } });
    contract.checkEvent(envelope);
  });

  test('is told of briefly by what lists say of it, with links to it and its attachments, and without opening its content', async () => {
    const parsed = await parseMessage(MAIL.raw);
    const { text: _text, ...whole } = await makeMessage(MAIL.raw);
    const { id, mailboxId, fetchId, uidl, size, digest, fetchedAt, expiresAt, acknowledgedAt, duplicateOf, omitted } =
      whole;
    const identity = {
      id,
      mailboxId,
      fetchId,
      uidl,
      size,
      digest,
      fetchedAt,
      expiresAt,
      acknowledgedAt,
      duplicateOf,
      omitted,
    };
    const { attachmentIds: _ids, ...summary } = summarise(parsed);
    const findNotice = async () => ({ message: { ...identity, ...summary }, attachmentIds: ['att_1'] });
    const links = (_tenant: string, { attachments }: { attachments: readonly { id: string }[] }) => ({
      expiresAt: TIME,
      message: '/m',
      raw: null,
      attachments: attachments.map((attachment) => ({ id: attachment.id, url: `/a/${attachment.id}` })),
    });
    const envelope = await buildEnvelope(tellBriefly({ findNotice }, { links }), EVENT);
    contract.checkEvent(envelope);
    expect(envelope.data).toEqual({
      message: { ...identity, ...summary },
      links: { expiresAt: TIME, message: '/m', raw: null, attachments: [{ id: 'att_1', url: '/a/att_1' }] },
    });
    expect(whole.snippet).toMatch(/\w/);
    expect(JSON.stringify(envelope)).toContain(JSON.stringify(whole.snippet));
    expect(await buildPayload(tellBriefly({ findNotice: async () => null }, { links }), EVENT)).toBeNull();
  });

  test('carries bodies up to the bound whole, and longer ones cut and marked', async () => {
    const fits = 'x'.repeat(bodyCharsMax);
    const whole = await build(await makeMessage(MAIL.raw, { text: fits, html: null }));
    expect(whole.message).toMatchObject({ text: fits, html: null, textTruncated: false, htmlTruncated: false });
    const cut = await build(await makeMessage(MAIL.raw, { text: `${fits}y`, html: fits }));
    expect(cut.message).toMatchObject({ text: fits, html: fits, textTruncated: true, htmlTruncated: false });
    const html = await build(await makeMessage(MAIL.raw, { text: null, html: `${fits}y` }));
    expect(html.message).toMatchObject({ text: null, html: fits, textTruncated: false, htmlTruncated: true });
  });

  test('says that a body was cut when it was cut before, short as it is now', async () => {
    const { message } = await build(await makeMessage(MAIL.raw, { text: 'x', textTruncated: true }));
    expect(message).toMatchObject({ text: 'x', textTruncated: true });
  });

  test('has no half of a character at the cut', async () => {
    const { message } = await build(
      await makeMessage(MAIL.raw, { text: `${'x'.repeat(bodyCharsMax - 1)}🔑 and more` }),
    );
    expect(message.text?.isWellFormed()).toBe(true);
    expect(message.text).toHaveLength(bodyCharsMax);
  });
});

describe('an event of each type', () => {
  const counts = { retrieved: 1, omitted: 0, skipped: 0, filtered: 0, failed: 0, deleted: 0 };
  const change = { since: TIME, failure: { code: 'upstream_locked', phase: 'login' } };
  const facts: EventFacts = {
    'message.received': {},
    'message.skipped': { uidl: 'a', reason: 'filter_size', bytes: null },
    'message.deleted_upstream': {},
    'fetch.succeeded': { counts },
    'fetch.failed': { counts, error: { code: 'upstream_locked', phase: null } },
    'mailbox.recovered': { since: TIME, failure: null },
    'mailbox.retrying': change,
    'mailbox.needs_credentials': change,
    'mailbox.blocked': change,
    'mailbox.paused': { since: TIME, failure: null },
    'mailbox.warning': { code: 'unique_ids_changed', since: '2026-11-28T12:00:00.000Z' },
    'webhook.failing': { failingSince: TIME, percent: 50 },
    'webhook.disabled': { reason: 'gone', failingSince: null },
    'webhook.recovered': { failingSince: TIME },
    'webhook.test': {},
    'delivery.exhausted': { webhookId: 'whk_1', eventId: EVENT.id, attempts: 10, status: null },
  };

  test.each(EVENT_TYPES)('%s keeps to the contract, which describes it', async (type) => {
    const isOfMailbox = !/^(webhook|delivery)/.test(type);
    const { mailboxId, fetchId, messageId } = SUBJECT;
    const about = isOfMailbox ? { mailboxId, fetchId } : { mailboxId: null, fetchId: null };
    const event = describeEvent(type, {
      tenant: 'default',
      subject: messageId,
      time: TIME,
      facts: facts[type],
      ...about,
    });
    const message = await makeMessage(MAIL.raw);
    const sequence = isOfMailbox ? 7 : null;
    const envelope = await buildEnvelope(tellWhole({ find: async () => message }), { ...event, sequence });
    expect(envelope).toMatchObject({ type, id: event.id, subject: messageId });
    contract.checkEvent(envelope);
  });
});
