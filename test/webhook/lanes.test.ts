import { expect, test } from 'vitest';
import { createLanes, type Place, type WantedPlace } from '../../src/webhook/lanes.ts';

const CROWDED_MS = 50;
const SLOW_MS = 250;

/** Lanes whose time goes on when the test says so, and who is given what in them. */
function openLanes(max: number, placesInTurn = 1) {
  const timers = new Set<{ atMs: number; call: () => void }>();
  let nowMs = 0;
  const lanes = createLanes({
    max,
    placesInTurn,
    crowdedAfterMs: CROWDED_MS,
    slowAfterMs: SLOW_MS,
    after(ms, call) {
      const timer = { atMs: nowMs + ms, call };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  });
  const given: string[] = [];
  const slow: string[] = [];
  const owners = new Map<string, object>();
  /** Null where it has to wait; `given` tells when that is over. */
  function enter(name: string, over: Partial<WantedPlace> = {}): Place | null {
    const by = owners.get(name) ?? {};
    owners.set(name, by);
    const place = lanes.enter({
      by,
      isSlow: false,
      isFirst: false,
      onSlow: () => slow.push(name),
      onRoom(found) {
        given.push(name);
        places.set(name, found);
      },
      ...over,
    });
    return place;
  }
  const places = new Map<string, Place>();
  return {
    enter,
    given,
    slow,
    /** The place that it was given from the line. */
    leave: (name: string) => places.get(name)?.leave(),
    pass(ms: number) {
      nowMs += ms;
      for (const timer of timers) {
        if (timer.atMs <= nowMs && timers.delete(timer)) timer.call();
      }
    },
  };
}

test('a place that is free is given to who has waited longest', () => {
  const { enter, given } = openLanes(1);
  const first = enter('a');
  expect([enter('b'), enter('c')]).toEqual([null, null]);
  first?.leave();
  first?.leave();
  expect(given).toEqual(['b']);
});

test('who leaves a place and waits for another is given it before it is another’s turn, as often as may be in a turn', () => {
  const { enter, given, leave } = openLanes(1, 3);
  const first = enter('a');
  enter('b');
  enter('a');
  first?.leave();
  enter('a');
  leave('a');
  enter('a');
  leave('a');
  expect(given).toEqual(['a', 'a', 'b']);
  leave('b');
  expect(given).toEqual(['a', 'a', 'b', 'a']);
});

test('an attempt that takes long makes room, at once where others wait, and its turn is over', () => {
  const { enter, given, slow, pass } = openLanes(1, 3);
  const first = enter('a');
  enter('b');
  enter('a');
  pass(CROWDED_MS);
  expect(given).toEqual(['b']);
  expect(slow).toEqual([]);
  pass(SLOW_MS - CROWDED_MS);
  expect(slow).toContain('a');
  first?.leave();
});

test('one that nobody waits for stays until somebody does', () => {
  const { enter, slow, pass } = openLanes(1);
  enter('a');
  pass(CROWDED_MS);
  expect(enter('b')).not.toBeNull();
  expect(enter('c')).toBeNull();
  pass(SLOW_MS);
  expect(slow).toContain('a');
});

test('the slow ones have a lane of their own, in which each may make one attempt whatever others take', () => {
  const { enter } = openLanes(1);
  expect(enter('a', { isSlow: true })).not.toBeNull();
  expect(enter('a', { isSlow: true })).toBeNull();
  expect(enter('b', { isSlow: true, isFirst: true })).not.toBeNull();
  expect(enter('c')).not.toBeNull();
});

test('among the slow ones every place is the next one’s, as each may be taken for long', () => {
  const { enter, given } = openLanes(1, 3);
  const first = enter('a', { isSlow: true });
  enter('b', { isSlow: true });
  enter('a', { isSlow: true });
  first?.leave();
  expect(given).toEqual(['b']);
});
