import { describe, expect, it } from 'vitest';
import { eventId, fetchId, fetchOfWebhook, mailboxId, messageId, messageKey, webhookOfFetch } from '../src/identity.ts';

const source = { host: 'pop.example.com', port: 995, username: 'ann@example.com' };
const mailbox = mailboxId('default', source);

/** Whoever has stored an id must find the same mail under it after every upgrade: these literals never change. */
describe('ids are for ever', () => {
  it('of a mailbox', () => {
    expect(mailbox).toBe('mbx_0t26e13d5wnms51fjpwc0z5q4s2x7s80');
    expect(mailboxId('default', { host: '127.0.0.1', port: 8995, username: 'jörg' })).toBe(
      'mbx_vy2emep450p7h9d8qwymejy2kekgnfqt',
    );
  });

  it('of a message, by unique-id and by digest', () => {
    expect(messageId('mbx_0', { uidl: 'whqtswO00WBw418f9t5JxYwZ', occurrence: 0 })).toBe(
      'msg_3cqd0vbv4yhk5fpyhr6ptrzt7ztwgdg2',
    );
    expect(messageId('mbx_0', { uidl: 'whqtswO00WBw418f9t5JxYwZ', occurrence: 1 })).toBe(
      'msg_hg4qhnn9dtg6b6v503qbhd10pktegkwg',
    );
    expect(messageId('mbx_0', { digest: '0'.repeat(64), occurrence: 0 })).toBe('msg_22g2jn8j5sp6zez5xbwxax0qyx7x2s1a');
  });

  it('of an event', () => {
    expect(eventId('message.received', 'msg_0')).toBe('evt_q3kypcrswp2yhpszk3d5eqg6tvnfdgpy');
  });

  it('of a ledger entry', () => {
    expect(messageKey({ uidl: 'a:b', occurrence: 2 })).toBe('uidl:2:a:b');
    expect(messageKey({ digest: 'abc', occurrence: 0 })).toBe('digest:0:abc');
  });

  it('of a fetch at a given time with given random bytes', () => {
    expect(fetchId(1_790_000_000_000, (bytes) => Buffer.alloc(bytes, 0xa5))).toBe('fch_06gc8m3c02jtb9d5mpjtb9d5mm');
  });
});

it('the id of the webhook of a fetch leads back to the fetch, and no other id does', () => {
  const fetch = 'fch_01kb4t0n7hq3x8v5c2e9m6r1aw';
  expect(webhookOfFetch(fetch)).toBe('whk_g1kb4t0n7hq3x8v5c2e9m6r1aw');
  expect(fetchOfWebhook('whk_g1kb4t0n7hq3x8v5c2e9m6r1aw')).toBe(fetch);
  for (const id of ['whk_01kb4t0n7hq3x8v5c2e9m6r1aw', 'whk_7zzzzzzzzzzzzzzzzzzzzzzzzz', 'whk_i', 'whk_']) {
    expect(fetchOfWebhook(id)).toBeNull();
  }
});

describe('a mailbox', () => {
  it('is the same on 110 and 995, and another on another port', () => {
    expect(mailboxId('default', { ...source, port: 110 })).toBe(mailbox);
    const ports = [995, 1110, 1995, 9950].map((port) => mailboxId('default', { ...source, port }));
    expect(new Set(ports).size).toBe(4);
  });

  it('does not depend on the case of the host or on its final dot', () => {
    for (const host of ['POP.Example.COM', 'pop.example.com.']) {
      expect(mailboxId('default', { ...source, host })).toBe(mailbox);
    }
  });

  it('is another for another host, another tenant, and another user, whose case may matter', () => {
    const others = [
      mailboxId('other', source),
      mailboxId('default', { ...source, host: 'pop2.example.com' }),
      mailboxId('default', { ...source, username: 'Ann@example.com' }),
      mailboxId('default', { ...source, username: 'ann@example.com ' }),
    ];
    expect(new Set([mailbox, ...others]).size).toBe(5);
  });
});

describe('parts are framed', () => {
  it('what moves from one part into the next gives another id', () => {
    const ids = [
      mailboxId('ab', { ...source, host: 'c' }),
      mailboxId('a', { ...source, host: 'bc' }),
      mailboxId('a', { ...source, host: 'b\n1:c' }),
      mailboxId('a\n1:b', { ...source, host: 'c' }),
      eventId('ab', 'c'),
      eventId('a', 'bc'),
    ];
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('a digest is no unique-id, and an occurrence no part of one', () => {
    const keys = [
      messageKey({ uidl: '0:a', occurrence: 0 }),
      messageKey({ uidl: 'a', occurrence: 0 }),
      messageKey({ uidl: '1:a', occurrence: 1 }),
      messageKey({ digest: 'a', occurrence: 0 }),
      messageKey({ uidl: 'digest:0:a', occurrence: 0 }),
    ];
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('an event of another type, and a message of another mailbox, are others', () => {
    expect(eventId('message.deleted', 'msg_0')).not.toBe(eventId('message.received', 'msg_0'));
    const identity = { uidl: 'a', occurrence: 0 };
    expect(messageId('mbx_0', identity)).not.toBe(messageId('mbx_1', identity));
  });
});

it('fetch ids sort by time, even within the same random bytes', () => {
  const times = [0, 1, 31, 32, 1_700_000_000_000, 1_700_000_000_001, 1_790_000_000_000, 2 ** 48 - 1];
  const ids = times.map((nowMs, index) => fetchId(nowMs, (bytes) => Buffer.alloc(bytes, 255 - index * 30)));
  expect(ids.toSorted()).toEqual(ids);
  for (const id of ids) expect(id).toMatch(/^fch_[0-9a-z]{26}$/);
});
