/**
 * The steps of the Redis blob store, each atomic: a blob, its time and the count of all bytes change together, so that the
 * count is right whatever dies in between. The first write of each is the one that Redis refuses when its memory is full.
 */
import { defineScript } from '../../redis/script.ts';

/** What the scripts answer in place of a length. */
export const REFUSALS = { tooLarge: -1, full: -2, gone: -3 } as const;

const NOTE_TIME = `
  local time = redis.call('TIME')
  local at = tonumber(time[1]) * 1000000 + tonumber(time[2])
  while redis.call('ZCOUNT', written, string.format('%.0f', at), string.format('%.0f', at)) > 0 do at = at + 1 end
  redis.call('ZADD', written, string.format('%.0f', at), member)`;

/** KEYS: blob, written, bytes. ARGV: the bytes, TENANT/ID, most bytes of all. A blob in one step. */
export const putBlob = defineScript(`
  local written, member = KEYS[2], ARGV[2]
  local grown = #ARGV[1] - redis.call('STRLEN', KEYS[1])
  if tonumber(redis.call('GET', KEYS[3]) or '0') + grown > tonumber(ARGV[3]) then return ${REFUSALS.full} end
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('INCRBY', KEYS[3], grown)
  ${NOTE_TIME}
  return #ARGV[1]`);

/**
 * KEYS: draft, drafts, bytes. ARGV: a piece, draft id, where in the blob it begins, most bytes of a blob, of all. A command whose answer
 * was lost is sent again: what is there already is not put behind itself. A draft that has lost an end, in a failover, is gone.
 */
export const growDraft = defineScript(`
  local begin, held = tonumber(ARGV[3]), redis.call('STRLEN', KEYS[1])
  local length = begin + #ARGV[1]
  if begin > 0 and not redis.call('ZSCORE', KEYS[2], ARGV[2]) then return ${REFUSALS.gone} end
  if held == length then return length end
  if held ~= begin then return ${REFUSALS.gone} end
  if length > tonumber(ARGV[4]) then return ${REFUSALS.tooLarge} end
  if tonumber(redis.call('GET', KEYS[3]) or '0') + #ARGV[1] > tonumber(ARGV[5]) then return ${REFUSALS.full} end
  redis.call('APPEND', KEYS[1], ARGV[1])
  redis.call('INCRBY', KEYS[3], #ARGV[1])
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[2])
  return length`);

/** KEYS: draft, drafts, blob, written, bytes. ARGV: draft id, TENANT/ID, the length. Sent again, it finds the blob in its place. */
export const keepDraft = defineScript(`
  local written, member, length = KEYS[4], ARGV[2], tonumber(ARGV[3])
  if redis.call('STRLEN', KEYS[1]) ~= length then
    local isKept = redis.call('STRLEN', KEYS[3]) == length and redis.call('ZSCORE', written, member)
    return isKept and length or ${REFUSALS.gone}
  end
  redis.call('DECRBY', KEYS[5], redis.call('STRLEN', KEYS[3]))
  redis.call('RENAME', KEYS[1], KEYS[3])
  redis.call('ZREM', KEYS[2], ARGV[1])
  ${NOTE_TIME}
  return length`);

/** KEYS: blob or draft, the sorted set that has it, bytes. ARGV: its name there. */
export const dropBlob = defineScript(`
  redis.call('ZREM', KEYS[2], ARGV[1])
  local length = redis.call('STRLEN', KEYS[1])
  if redis.call('UNLINK', KEYS[1]) == 1 then redis.call('DECRBY', KEYS[3], length) end
  return length`);

/** As `dropBlob`, where a draft has not grown since. ARGV: draft id, the time in milliseconds. */
export const dropIdleDraft = defineScript(`
  local grown = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if not grown or tonumber(grown) >= tonumber(ARGV[2]) then return 0 end
  redis.call('ZREM', KEYS[2], ARGV[1])
  local length = redis.call('STRLEN', KEYS[1])
  redis.call('UNLINK', KEYS[1])
  redis.call('DECRBY', KEYS[3], length)
  return length`);
