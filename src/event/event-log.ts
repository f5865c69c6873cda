/**
 * The event log: one Redis stream per tenant, references only, bounded by age and by bytes. An entry's id is the time by Redis's
 * clock and the event's number among all of the tenant, so that a reader sees whether something is missing between two of them.
 *
 * An event that comes again is known by its id for a while, and is then not appended again. It knows neither who reads nor to whom
 * events are sent.
 */
import type { ChainableCommander } from 'ioredis';
import type { RedisClient } from '../redis/client.ts';
import { eventKeys, mailboxesKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import type { EventRef, NewEvent } from './event.ts';
import {
  appendsMax,
  bytesCheckEvery,
  bytesLeftShare,
  leavingCheckedMax,
  readEntriesMax,
  recentMax,
  recentMs,
} from './limits.ts';
import {
  decodeEntry,
  encodeEvent,
  FIELDS,
  formatPlace,
  parsePlace,
  startOfLog,
  type LoggedEvent,
  type Place,
} from './log-codec.ts';

export interface EventLog {
  /** Resolves, in their order, with the same events in their places: those that they have had before, where that is known. */
  append(tenant: string, events: readonly NewEvent[]): Promise<EventRef[]>;
  /** The oldest entries behind `after`, or of all; null where some of them have left the log, or it does not reach so far. */
  read(tenant: string, after: Place | null): Promise<LogSection | null>;
  /** The place of the last event of all. */
  end(tenant: string): Promise<Place>;
  /** Before a mailbox is deleted: its events are counted on until none of them is in the log, and for ever where it is made again. */
  letGo(tenant: string, mailboxId: string): Promise<void>;
}

export interface LogSection {
  entries: LoggedEvent[];
  /** Where the log ended at that moment. */
  end: Place;
}

export interface EventLogBounds {
  /** How long an event stays in the log, in milliseconds. */
  ageMs: number;
  /** Bytes of Redis's memory that a tenant's log takes. */
  bytes: number;
}

/** KEYS begin with log, places. The time, which never goes back, and the number of the last event. */
const NOW = `
  local time = redis.call('TIME')
  local ms, number = 0, 0
  local last = redis.call('HGET', KEYS[2], 'last')
  if last then
    local lastMs, lastNumber = last:match('^(%d+)-(%d+)$')
    ms, number = tonumber(lastMs), tonumber(lastNumber)
  end
  ms = math.max(ms, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))`;

/**
 * KEYS: log, places, recent, recent before, leaving, stored mailboxes. ARGV: age, bytes, channel, then the fields of each event.
 * Trimming leaves the last node of the stream as it is, so that it costs next to nothing; what is not trimmed expires.
 *
 * A stored mailbox is counted on however long it is quiet. Any other is forgotten once its last event is older than all that there are.
 */
const appendEvents = defineScript(`${NOW}
  local oldest = string.format('%.0f', math.max(0, ms - tonumber(ARGV[1])))
  local width = ${FIELDS.length}
  local sequences, before = {}, number
  for at = 4, #ARGV, width do
    local id, mailbox = ARGV[at], ARGV[at + 4]
    local sequence = redis.call('HGET', KEYS[3], id) or redis.call('HGET', KEYS[4], id)
    if not sequence then
      number = number + 1
      sequence = 0
      if mailbox ~= '' then
        sequence = redis.call('HINCRBY', KEYS[2], mailbox, 1)
        if redis.call('ZSCORE', KEYS[6], mailbox) then
          redis.call('ZADD', KEYS[5], 'XX', ms, mailbox)
        else
          redis.call('ZADD', KEYS[5], ms, mailbox)
        end
      end
      last = string.format('%.0f-%.0f', ms, number)
      redis.call('XADD', KEYS[1], 'MINID', '~', oldest, last,
        ${FIELDS.map((name, at) => `'${name}', ARGV[at + ${at}]`).join(', ')}, 'sequence', sequence)
      redis.call('HSET', KEYS[3], id, sequence)
    end
    sequences[#sequences + 1] = tonumber(sequence)
  end
  if number == before then return sequences end
  redis.call('HSET', KEYS[2], 'last', last)
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[3], ${recentMs})
  if redis.call('HLEN', KEYS[3]) >= ${recentMax} then redis.call('RENAME', KEYS[3], KEYS[4]) end
  if math.floor(number / ${bytesCheckEvery}) ~= math.floor(before / ${bytesCheckEvery}) then
    local used, bound = redis.call('MEMORY', 'USAGE', KEYS[1]), tonumber(ARGV[2])
    if used > bound then
      local left = math.floor(redis.call('XLEN', KEYS[1]) * bound * ${bytesLeftShare} / used)
      redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', left)
    end
    local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    local firstMs = first and first[1]:match('^%d+') or oldest
    local behind = string.format('(%.0f', math.min(tonumber(firstMs), tonumber(oldest)))
    local quiet = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', behind, 'LIMIT', 0, ${leavingCheckedMax})
    for _, mailbox in ipairs(quiet) do
      if not redis.call('ZSCORE', KEYS[6], mailbox) then redis.call('HDEL', KEYS[2], mailbox) end
      redis.call('ZREM', KEYS[5], mailbox)
    end
  end
  redis.call('PUBLISH', ARGV[3], last)
  return sequences`);

/** KEYS: log, places, leaving. ARGV: mailbox. Its deletion may yet fail: whether it is stored is looked at when its time has come. */
const letGoOf = defineScript(`
  if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return end
  ${NOW}
  redis.call('ZADD', KEYS[3], ms, ARGV[1])`);

export function createEventLog(redis: RedisClient, { ageMs, bytes }: EventLogBounds): EventLog {
  return {
    async end(tenant) {
      const last = await redis.hget(eventKeys(tenant).places, 'last');
      return last === null ? startOfLog : parsePlace(last);
    },
    async letGo(tenant, mailboxId) {
      const { log, places, leaving } = eventKeys(tenant);
      await letGoOf(redis, [log, places, leaving], [mailboxId]);
    },
    async append(tenant, events) {
      const { log, places, recent, recentBefore, leaving, channel } = eventKeys(tenant);
      const keys = [log, places, recent, recentBefore, leaving, mailboxesKey(tenant)];
      const sequences: number[] = [];
      for (let from = 0; from < events.length; from += appendsMax) {
        const args = [ageMs, bytes, channel, ...events.slice(from, from + appendsMax).flatMap(encodeEvent)];
        sequences.push(...((await appendEvents(redis, keys, args)) as number[]));
      }
      return events.map((event, at) => ({ ...event, sequence: sequences[at] || null }));
    },
    async read(tenant, after) {
      const { log, places } = eventKeys(tenant);
      const from = after === null ? '-' : `(${formatPlace(after)}`;
      // As of one moment: what comes between two questions would look like a gap.
      const [entries, last] = await inOneStep<[[string, string[]][], string | null]>(
        redis.multi().xrange(log, from, '+', 'COUNT', readEntriesMax).hget(places, 'last'),
      );
      const end = last === null ? startOfLog : parsePlace(last);
      const found: LogSection = { entries: entries.map((entry) => decodeEntry(tenant, entry)), end };
      if (after === null) return found;
      const [first] = found.entries;
      if (first) return first.place.number > after.number + 1 ? null : found;
      // Nothing is behind it: there never was, or that has left the log, or Redis has lost what the cursor is from.
      return formatPlace(after) === formatPlace(end) ? found : null;
    },
  };
}

async function inOneStep<Results>(commands: ChainableCommander): Promise<Results> {
  const replies = (await commands.exec()) ?? [];
  return replies.map(([error, reply]) => {
    if (error) throw error;
    return reply;
  }) as Results;
}
