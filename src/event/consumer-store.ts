/**
 * Consumers by name: what each wants of the log, and up to where it has dealt with it. Its cursor is kept here and moves when the
 * consumer says so: what was read and not acknowledged is read again.
 */
import { AppError } from '../errors.ts';
import type { RedisClient } from '../redis/client.ts';
import { eventKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import type { EventFilter } from './feed.ts';
import { consumersMax } from './limits.ts';
import { formatPlace, parsePlace, type Place } from './log-codec.ts';

export interface ConsumerSettings extends EventFilter {
  /** ISO 8601. */
  createdAt: string;
}

export interface Consumer extends ConsumerSettings {
  name: string;
  cursor: Place;
}

export interface ConsumerStore {
  /**
   * Makes the consumer, or changes what it wants. Resolves with true where it is new.
   * @param cursor where a new one begins; one that is there goes on where it was unless `isMoved`.
   * @throws AppError `conflict` where there are as many as there may be.
   */
  put(tenant: string, name: string, settings: ConsumerSettings, cursor: Place, isMoved: boolean): Promise<boolean>;
  find(tenant: string, name: string): Promise<Consumer | null>;
  list(tenant: string): Promise<Consumer[]>;
  /** Moves its cursor forward, never back. False where there is no such consumer. */
  acknowledge(tenant: string, name: string, cursor: Place): Promise<boolean>;
  /** False where there is none. */
  delete(tenant: string, name: string): Promise<boolean>;
}

/** KEYS: consumers, cursors. ARGV: name, settings, cursor, '1' where the cursor is moved. */
const putConsumer = defineScript(`
  local isNew = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
  if isNew and redis.call('HLEN', KEYS[1]) >= ${consumersMax} then return -1 end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  if isNew or ARGV[4] == '1' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
  return isNew and 1 or 0`);

/** KEYS: cursors. ARGV: name, cursor. */
const moveForward = defineScript(`
  local held = redis.call('HGET', KEYS[1], ARGV[1])
  if not held then return 0 end
  local ms, number = held:match('^(%d+)-(%d+)$')
  local nextMs, nextNumber = ARGV[2]:match('^(%d+)-(%d+)$')
  ms, number, nextMs, nextNumber = tonumber(ms), tonumber(number), tonumber(nextMs), tonumber(nextNumber)
  if nextMs > ms or (nextMs == ms and nextNumber > number) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
  return 1`);

export function createConsumerStore(redis: RedisClient): ConsumerStore {
  return {
    async put(tenant, name, settings, cursor, isMoved) {
      const { consumers, cursors } = eventKeys(tenant);
      const { types, mailboxId, createdAt } = settings;
      const args = [name, JSON.stringify({ types, mailboxId, createdAt }), formatPlace(cursor), isMoved ? '1' : ''];
      const done = await putConsumer(redis, [consumers, cursors], args);
      if (done === -1)
        throw new AppError('conflict', `There are ${consumersMax} consumers, which is as many as can be.`);
      return done === 1;
    },
    async find(tenant, name) {
      const { consumers, cursors } = eventKeys(tenant);
      const [settings, cursor] = await Promise.all([redis.hget(consumers, name), redis.hget(cursors, name)]);
      return settings === null || cursor === null ? null : read(name, settings, cursor);
    },
    async list(tenant) {
      const { consumers, cursors } = eventKeys(tenant);
      const [all, places] = await Promise.all([redis.hgetall(consumers), redis.hgetall(cursors)]);
      return Object.keys(all)
        .toSorted()
        .flatMap((name) => {
          const [settings, cursor] = [all[name], places[name]];
          return settings === undefined || cursor === undefined ? [] : [read(name, settings, cursor)];
        });
    },
    async acknowledge(tenant, name, cursor) {
      return (await moveForward(redis, [eventKeys(tenant).cursors], [name, formatPlace(cursor)])) === 1;
    },
    async delete(tenant, name) {
      const { consumers, cursors } = eventKeys(tenant);
      await redis.hdel(cursors, name);
      return (await redis.hdel(consumers, name)) === 1;
    },
  };
}

function read(name: string, settings: string, cursor: string): Consumer {
  return { name, ...(JSON.parse(settings) as ConsumerSettings), cursor: parsePlace(cursor) };
}
