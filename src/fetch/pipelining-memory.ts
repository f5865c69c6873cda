/** Remembers servers that broke off under pipelining, for a day. Each process learns by itself: it costs a retry at most. */
import type { PipeliningMemory } from '../pop3/index.ts';
import { pipeliningMemoryMs, pipeliningPlacesMax } from './limits.ts';

export function createPipeliningMemory(clock: { now(): number }): PipeliningMemory {
  const places = new Map<string, { count: number; untilMs: number }>();
  return {
    get(place) {
      const known = places.get(place);
      return known && known.untilMs > clock.now() ? known.count : undefined;
    },
    set(place, count) {
      const [oldest] = places.keys();
      if (oldest !== undefined && places.size >= pipeliningPlacesMax) places.delete(oldest);
      places.delete(place);
      places.set(place, { count, untilMs: clock.now() + pipeliningMemoryMs });
    },
  };
}
