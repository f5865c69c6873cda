/**
 * The scripts of `host-slots.ts`. They go by the clock of Redis, as those of workers differ; the first argument of each is
 * another time to go by, or empty.
 */
import { defineScript } from '../redis/script.ts';
import {
  askSpacingMsMin,
  asksPerLogin,
  busyWaitMsMax,
  circuitFailuresMax,
  circuitPauseMsMax,
  circuitPauseMsMin,
  circuitProbeMs,
  circuitSpreadMs,
  circuitWindowMs,
  hostStateTtlMs,
  turnGraceMs,
} from './limits.ts';

const NOW = `
  local now = tonumber(ARGV[1])
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  local function text(number) return string.format('%.3f', number) end`;

/** A port that does not answer, as `failures pausedUntil lastFailure`. */
const CIRCUIT = `
  local function readCircuit(value)
    local failures, untilMs, lastMs = string.match(value or '0 0 0', '^(%d+) (%d+) (%d+)$')
    return tonumber(failures), tonumber(untilMs), tonumber(lastMs)
  end
  local function writeCircuit(key, field, failures, untilMs, lastMs)
    redis.call('HSET', key, field, string.format('%d %.0f %.0f', failures, untilMs, lastMs))
  end`;

/**
 * KEYS: slots, waiting, turns, state. ARGV: now, owner, tenant, port, connections, logins per second, milliseconds that a slot
 * lives, milliseconds to wait at least, a number from 0 to 1.
 *
 * Returns 1 and how often the port has failed to answer; or 0, when to ask again, and 1 where it is left alone.
 *
 * A tenant is told to come back at the end of its own line, which has one place for each login that the host allows: however
 * many wait, they ask no more often than that, and who comes with a single fetch waits behind none of another tenant's.
 */
export const acquireSlot = defineScript(`${NOW}${CIRCUIT}
  local owner, tenant = ARGV[2], ARGV[3]
  local lineField, circuitField = 'line:' .. tenant, 'port:' .. ARGV[4]
  local connections, rate = tonumber(ARGV[5]), tonumber(ARGV[6])
  local ttl, wait, chance = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
  local state = redis.call('HMGET', KEYS[4], 'tokens', 'at', lineField, circuitField)

  local failures, pausedUntil, lastFailure = readCircuit(state[4])
  local isOpen = failures >= ${circuitFailuresMax}
  if isOpen and pausedUntil > now then
    return { 0, math.ceil(math.max(wait, pausedUntil - now + chance * ${circuitSpreadMs})), 1 }
  end

  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    redis.call('ZREM', KEYS[2], name)
    redis.call('ZREM', KEYS[3], name)
    redis.call('HDEL', KEYS[4], 'line:' .. name)
    if name == tenant then state[3] = false end
  end

  local members = redis.call('ZRANGE', KEYS[1], 0, -1)
  local held = {}
  for _, member in ipairs(members) do
    local name = string.sub(member, string.find(member, ' ', 1, true) + 1)
    held[name] = (held[name] or 0) + 1
  end
  local mine = held[tenant] or 0
  -- A second's logins may come at once.
  local tokens = math.min(rate, (tonumber(state[1]) or rate) + math.max(0, now - (tonumber(state[2]) or now)) * rate / 1000)
  local room = math.min(connections - #members, math.floor(tokens + 0.001))

  -- Of those who wait, who hold fewer, or the same and have their turn before: by counting only those who hold any.
  local turn = tonumber(redis.call('ZSCORE', KEYS[3], tenant)) or now
  local ahead
  if mine == 0 then
    ahead = redis.call('ZCOUNT', KEYS[3], '-inf', '(' .. text(turn))
  else
    ahead = redis.call('ZCARD', KEYS[3])
  end
  for name, count in pairs(held) do
    local theirs = tonumber(redis.call('ZSCORE', KEYS[3], name))
    local isAhead = theirs and (count < mine or (count == mine and theirs < turn))
    local wasCounted = theirs and (mine > 0 or theirs < turn)
    if wasCounted and not isAhead then ahead = ahead - 1 end
  end

  local line, spacing = tonumber(state[3]) or 0, math.max(${askSpacingMsMin}, 1000 / rate / ${asksPerLogin})
  -- Not until the end of its line: those in it may never come, and the next of them is due long before.
  local countsUntil = math.max(tonumber(redis.call('ZSCORE', KEYS[2], tenant)) or 0, now + math.max(wait * 1.1, spacing) + ${turnGraceMs})
  if ahead < room then
    redis.call('ZADD', KEYS[1], now + ttl, owner .. ' ' .. tenant)
    redis.call('PEXPIRE', KEYS[1], ttl)
    redis.call('HSET', KEYS[4], 'tokens', text(tokens - 1), 'at', text(now))
    if isOpen then writeCircuit(KEYS[4], circuitField, failures, now + ${circuitProbeMs}, lastFailure) end
    redis.call('PEXPIRE', KEYS[4], ${hostStateTtlMs})
    if line > now then
      -- Others of this tenant are yet to come: behind the other tenants.
      redis.call('ZADD', KEYS[2], text(countsUntil), tenant)
      redis.call('ZADD', KEYS[3], text(now), tenant)
    else
      redis.call('ZREM', KEYS[2], tenant)
      redis.call('ZREM', KEYS[3], tenant)
      redis.call('HDEL', KEYS[4], lineField)
    end
    return { 1, failures }
  end

  local farthest = now + ${busyWaitMsMax}
  local place = math.max(now + wait, now + (1 - tokens) * 1000 / rate, line + spacing)
  if place > farthest then place = now + ${busyWaitMsMax} * (1 + chance) / 2 end
  redis.call('HSET', KEYS[4], lineField, text(math.min(farthest, math.max(line, place))))
  redis.call('PEXPIRE', KEYS[4], ${hostStateTtlMs})
  redis.call('ZADD', KEYS[2], text(countsUntil), tenant)
  redis.call('ZADD', KEYS[3], 'NX', text(now), tenant)
  for key = 2, 3 do redis.call('PEXPIRE', KEYS[key], ${hostStateTtlMs}) end
  return { 0, math.ceil(place - now), 0 }`);

/** KEYS: slots. ARGV: now, member, milliseconds that it lives. A slot whose time was over is its owner's until another asks. */
export const renewSlot = defineScript(`${NOW}
  if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then return 0 end
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
  return redis.call('PEXPIRE', KEYS[1], ARGV[3])`);

/** KEYS: slots. ARGV: member. */
export const releaseSlot = defineScript(`return redis.call('ZREM', KEYS[1], ARGV[1])`);

/**
 * KEYS: state. ARGV: now, port, 1 where the port has answered, and how often it had failed to when the connection was begun.
 * Connections that were begun before the pause say nothing of how it went on.
 */
export const noteAnswer = defineScript(`${NOW}${CIRCUIT}
  local field = 'port:' .. ARGV[2]
  if ARGV[3] == '1' then return redis.call('HDEL', KEYS[1], field) end
  local failures, pausedUntil, lastFailure = readCircuit(redis.call('HGET', KEYS[1], field))
  local isOpen, wasOpen = failures >= ${circuitFailuresMax}, tonumber(ARGV[4]) >= ${circuitFailuresMax}
  if isOpen and not wasOpen then return 0 end
  if not isOpen and now - lastFailure > ${circuitWindowMs} then failures = 0 end
  failures = failures + 1
  local doublings = math.min(failures - ${circuitFailuresMax}, 20)
  local pause = doublings < 0 and 0 or math.min(${circuitPauseMsMax}, ${circuitPauseMsMin} * 2 ^ doublings)
  writeCircuit(KEYS[1], field, failures, now + pause, now)
  return redis.call('PEXPIRE', KEYS[1], ${hostStateTtlMs})`);
