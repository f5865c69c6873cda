import { expect, test } from 'vitest';
import { tellDeleted, tellSkipped } from '../../src/fetch/announcements.ts';
import { asDeleted } from '../../src/fetch/deletion.ts';
import type { Fetch } from '../../src/fetch/fetch.ts';
import type { StoredMessage } from '../../src/fetch/plan.ts';
import { messageId } from '../../src/identity.ts';
import { announcements } from '../support/events.ts';

const FETCH = { id: 'fch_1', tenant: 'default', mailboxId: 'mbx_1' } as Fetch;
const idOf = (uidl: string) => messageId('mbx_1', { uidl, occurrence: 0 });

function set() {
  const told: string[] = [];
  return { told, announce: announcements((what, ids) => told.push(...ids.map((id) => `${what} ${id}`))) };
}

function deleted(absent: { listings: number; since: number } | null) {
  const entry = {
    state: 'stored',
    at: 1,
    bytes: 1,
    ownId: null,
    digest: '00',
    keptUntil: 2,
    isReleased: false,
    absent,
  };
  return asDeleted({ entry } as StoredMessage);
}

test('a deletion is told of once it is known, also of a message that was missing for a while before', async () => {
  const { told, announce } = set();
  const gone: string[] = [];
  const entries = new Map([
    ['uidl:0:a', deleted(null)],
    ['uidl:0:b', deleted({ listings: 1, since: 1 })],
    // Told of by an earlier fetch, whose listing was without it.
    ['uidl:0:c', { ...deleted(null), absent: { listings: 1, since: 1 } }],
  ]);
  await tellDeleted(announce, FETCH, { noteGone: (keys) => gone.push(...keys) }, entries);
  expect(told).toEqual([`deletedUpstream ${idOf('a')}`, `deletedUpstream ${idOf('b')}`]);
  expect(gone).toEqual(['uidl:0:a', 'uidl:0:b']);
});

test('a message that is not wanted is told of where it can be known again', async () => {
  const { told, announce } = set();
  const messages = [
    { key: 'uidl:0:a', uidl: 'a', bytes: 7 },
    { key: null, uidl: null, bytes: 7 },
  ];
  await tellSkipped(announce, FETCH, messages, 'filter_size');
  expect(told).toEqual([`skipped ${idOf('a')}`]);
});
