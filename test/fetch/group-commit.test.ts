import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Fetch } from '../../src/fetch/fetch.ts';
import { GroupCommit, type CommitJob, type CommitPorts } from '../../src/fetch/group-commit.ts';
import { commitAfterMs, commitBytesMax, commitMessagesMax, headersBytesMax } from '../../src/fetch/limits.ts';
import type { PlannedMessage } from '../../src/fetch/plan.ts';
import type { NewMessage } from '../../src/message/new-message.ts';
import type { RawDraft } from '../../src/message/raw-draft.ts';
import { announcements } from '../support/events.ts';
import type { ParsedMessage } from '../../src/mime/message.ts';

const FETCH = { id: 'fch_1', tenant: 'default', mailboxId: 'mbx_1', retentionMs: 1000 } as Fetch;
const planned = (number: number, uidl: string | null = `u${number}`): PlannedMessage => ({
  number,
  bytes: 10,
  uidl,
  key: uidl === null ? null : `uidl:0:${uidl}`,
  occurrence: 0,
  isSuspect: false,
});

async function* body(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

/** What happens, in its order; and what is to go wrong. */
function set(over: Partial<CommitPorts> = {}, store?: CommitPorts['messages']['store']) {
  const log: string[] = [];
  const discarded: string[] = [];
  const groups: NewMessage[][] = [];
  const abort = new AbortController();
  const book: CommitJob['book'] = {
    commit: async (key, entry, count) => {
      log.push(`mark ${key} ${entry.state} ${count?.as} ${count?.bytes}`);
    },
  };
  const ports: CommitPorts = {
    clock: { now: () => 5 },
    messages: {
      async write(_tenant, source) {
        let text = '';
        for await (const chunk of source) text += Buffer.from(chunk).toString();
        return {
          bytes: text.length,
          sha256: text,
          key: Buffer.alloc(32),
          place: { pieces: [] },
          open: async () => Buffer.from(text),
          discard: async () => void discarded.push(text),
        } satisfies RawDraft;
      },
      async store(tenant, messages) {
        if (store) return store(tenant, messages);
        groups.push([...messages]);
        log.push(`store ${messages.length}`);
        return messages.map(({ uidl }, at) => ({
          id: `msg_${uidl ?? at}`,
          firstId: uidl === 'twin' ? 'msg_a' : `msg_${uidl ?? at}`,
        }));
      },
    },
    parse: async () => ({ parse: { status: 'ok', warnings: [] } }) as unknown as ParsedMessage,
    announce: announcements((what, ids) => log.push(...ids.map((id) => `${what} ${id}`))),
    ...over,
  };
  return {
    log,
    discarded,
    groups,
    abort,
    commit: new GroupCommit(ports, {
      fetch: FETCH,
      book,
      signal: abort.signal,
      uniqueIds: () => ({ isAnnounced: (digest) => digest === '6f6c64', meet: () => undefined }),
    }),
  };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('a group of messages', () => {
  test('is stored, announced and marked, in this order; what is nothing new is not announced', async () => {
    const { log, commit } = set();
    for (const uidl of ['a', 'twin']) await commit.take(planned(1, uidl), body('x'));
    expect(log).toEqual([]);
    await commit.flush();
    expect(log).toEqual([
      'store 2',
      'received msg_a',
      'mark uidl:0:a stored retrieved 1',
      'mark uidl:0:twin stored retrieved 1',
    ]);
    expect(commit.committed.map(({ entry }) => entry.ownId)).toEqual(['msg_a', 'msg_twin']);
  });

  test('is not announced where the ledger knows its bytes, and is by the first that has them where it does not', async () => {
    const { log, commit } = set();
    await commit.take(planned(1, 'moved'), body('6f6c64'));
    await commit.take(planned(2, 'twin'), body('x'));
    await commit.flush();
    expect(log.filter((line) => line.startsWith('received'))).toEqual(['received msg_a']);
  });

  test('is full by its messages, or by its bytes, and waits for no more then', async () => {
    const many = set();
    for (let number = 1; number <= commitMessagesMax; number += 1) await many.commit.take(planned(number), body('x'));
    expect(many.log[0]).toBe(`store ${commitMessagesMax}`);
    const heavy = set();
    await heavy.commit.take(planned(1), body('x'));
    await heavy.commit.take(planned(2), body('x'.repeat(commitBytesMax)));
    expect(heavy.log[0]).toBe('store 2');
  });

  test('waits for the next message for so long, and is stored though none comes', async () => {
    const { log, commit } = set();
    await commit.take(planned(1), body('x'));
    await vi.advanceTimersByTimeAsync(commitAfterMs - 1);
    expect(log).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(log).toHaveLength(3);
    await commit.flush();
    expect(log).toHaveLength(3);
  });

  test('tells messages without unique-ids apart by their bytes, and by how often these have come', async () => {
    const { groups, commit } = set();
    for (const text of ['one', 'two', 'one']) await commit.take(planned(1, null), body(text));
    await commit.flush();
    expect(groups.flat().map(({ identity }) => identity)).toEqual([
      { digest: 'one', occurrence: 0 },
      { digest: 'two', occurrence: 0 },
      { digest: 'one', occurrence: 1 },
    ]);
  });

  test('takes the beginning of a header section, reads all of it, and counts it apart', async () => {
    const { log, groups, commit } = set();
    let read = 0;
    async function* head(): AsyncGenerator<Buffer> {
      for (let at = 0; at < 10; at += 1, read += 1) yield Buffer.alloc(headersBytesMax / 4, 'x');
    }
    await commit.takeHeaders({ ...planned(1), bytes: 99_000_000 }, head());
    await commit.flush();
    expect(read).toBe(10);
    expect(groups[0]?.[0]?.raw).toEqual({ omitted: 'too_large', bytes: 99_000_000 });
    expect(log.at(-1)).toBe(`mark uidl:0:u1 stored omitted ${headersBytesMax}`);
  });
});

describe('what cannot be committed', () => {
  test('because storage fails is not announced, not marked, and fails all that comes after it', async () => {
    const failure = new Error('full');
    const { log, commit } = set({}, () => Promise.reject(failure));
    await commit.take(planned(1), body('x'));
    await expect(commit.flush()).rejects.toThrow(failure);
    await commit.take(planned(2), body('y'));
    await expect(commit.flush()).rejects.toThrow(failure);
    expect(log).toEqual([]);
    expect(commit.committed).toEqual([]);
  });

  test('because its bytes cannot be read again for the parser leaves nothing of the group', async () => {
    const { log, discarded, commit } = set({ parse: () => Promise.reject(new Error('the disk is gone')) });
    await commit.take(planned(1), body('x'));
    await commit.take(planned(2), body('y'));
    await expect(commit.flush()).rejects.toThrow('the disk is gone');
    expect(discarded).toEqual(['x', 'y']);
    expect(log).toEqual([]);
  });

  test('because the session was ended is given up', async () => {
    const { log, discarded, abort, commit } = set();
    await commit.take(planned(1), body('x'));
    abort.abort(new Error('lease lost'));
    await expect(commit.flush()).rejects.toThrow('lease lost');
    expect(discarded).toEqual(['x']);
    expect(log).toEqual([]);
  });

  test('by the time that all is over is given up, without a timer left', async () => {
    const { log, discarded, commit } = set();
    await commit.take(planned(1), body('x'));
    await commit.close();
    await vi.advanceTimersByTimeAsync(commitAfterMs);
    expect(vi.getTimerCount()).toBe(0);
    expect(discarded).toEqual(['x']);
    expect(log).toEqual([]);
  });
});
