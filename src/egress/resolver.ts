/**
 * Turns for look-ups. The system's resolver cannot be called off: a look-up whose name server is silent keeps a thread of the process,
 * for as long as the system waits, and they are few. So a name is looked up once however many ask for it; names that answered last
 * have threads that others cannot take; and one that got no answer is left alone for a while.
 */
import { hungRestMs, knownNamesMax, lookupTimeoutMs, slowLookupMs } from './limits.ts';
import { isUnknown, type Found, type Resolve } from './lookup.ts';

/** What is known of a name, the worst first. */
const STANDINGS = ['hung', 'new', 'answered'] as const;
type Standing = (typeof STANDINGS)[number];

interface Lookup {
  readonly name: string;
  readonly standing: Standing;
  /** When it was last asked for. */
  wantedMs: number;
  /** Null while it waits for its turn. */
  begunMs: number | null;
  readonly found: PromiseWithResolvers<Found>;
}

export interface ResolverOptions {
  /** Look-ups that the system makes at once. */
  atOnce: number;
  nowMs?(): number;
}

/** As libuv has it: half of its threads. */
export function lookupsAtOnce({ UV_THREADPOOL_SIZE: size }: NodeJS.ProcessEnv): number {
  const threads = size === undefined ? 4 : Math.min(1024, Math.max(1, Number.parseInt(size, 10) || 0));
  return Math.floor((threads + 1) / 2);
}

/** @returns as `resolve`, which gets its turns; and EAI_AGAIN for a name that is left alone. */
export function createResolver(
  resolve: Resolve,
  { atOnce, nowMs: now = () => performance.now() }: ResolverOptions,
): Resolve {
  /** Of a standing and all worse ones together. */
  const places: Record<Standing, number> = {
    hung: Math.ceil(atOnce / 4),
    new: Math.ceil(atOnce / 2),
    answered: atOnce,
  };
  /** Those that are asked for, begun or not. */
  const going = new Map<string, Lookup>();
  const begun = new Set<Lookup>();
  const waiting: Record<Standing, Set<Lookup>> = { hung: new Set(), new: new Set(), answered: new Set() };
  /** The one noted last comes last. What is not here is new. */
  const known = new Map<string, { standing: Standing; restUntilMs: number }>();

  function note(name: string, standing: Standing, restUntilMs = 0): void {
    known.delete(name);
    if (standing === 'new') return;
    known.set(name, { standing, restUntilMs });
    const [oldest] = known.keys();
    if (known.size > knownNamesMax && oldest !== undefined) known.delete(oldest);
  }

  /** One that is slow counts as hung, whatever was known of its name. */
  function rankOf({ standing, begunMs }: Lookup): number {
    return STANDINGS.indexOf(begunMs !== null && now() - begunMs > slowLookupMs ? 'hung' : standing);
  }

  function hasRoom(wanted: Standing): boolean {
    const ranks = [...begun].map(rankOf);
    return STANDINGS.every(
      (standing, rank) =>
        rank < STANDINGS.indexOf(wanted) || ranks.filter((each) => each <= rank).length < places[standing],
    );
  }

  function beginNext(): void {
    for (const standing of STANDINGS.toReversed()) {
      for (const lookup of waiting[standing]) {
        if (!hasRoom(standing)) break;
        waiting[standing].delete(lookup);
        if (now() - lookup.wantedMs < lookupTimeoutMs) begin(lookup);
        else {
          // Nobody waits for it any more.
          going.delete(lookup.name);
          lookup.found.reject(unanswered(lookup.name));
        }
      }
    }
  }

  function begin(lookup: Lookup): void {
    const { name, found } = lookup;
    const begunMs = now();
    lookup.begunMs = begunMs;
    begun.add(lookup);
    const end = (isAnswer: boolean): void => {
      begun.delete(lookup);
      going.delete(name);
      const isSlow = now() - begunMs > slowLookupMs;
      if (isAnswer) note(name, isSlow ? 'new' : 'answered');
      else if (isSlow) note(name, 'hung', now() + hungRestMs);
      beginNext();
    };
    resolve(name).then(
      (addresses) => {
        end(true);
        found.resolve(addresses);
      },
      (error: unknown) => {
        end(isUnknown(error));
        found.reject(error);
      },
    );
  }

  return async (name) => {
    const nowMs = now();
    const same = going.get(name);
    if (same) {
      same.wantedMs = nowMs;
      if (same.begunMs !== null && nowMs - same.begunMs >= lookupTimeoutMs) throw unanswered(name);
      return same.found.promise;
    }
    const { standing, restUntilMs } = known.get(name) ?? { standing: 'new', restUntilMs: 0 };
    if (nowMs < restUntilMs) throw unanswered(name);
    const lookup: Lookup = { name, standing, wantedMs: nowMs, begunMs: null, found: Promise.withResolvers() };
    going.set(name, lookup);
    waiting[standing].add(lookup);
    beginNext();
    return lookup.found.promise;
  };
}

function unanswered(name: string): Error {
  return Object.assign(new Error(`No name server answers for ${name}.`), { code: 'EAI_AGAIN' });
}
