/** Whose jobs wait in a fetch queue: read off the queue itself, whose job ids begin with the tenant. */
import type { RedisClient } from '../redis/client.ts';
import { queueKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { waitingJobsMax } from './limits.ts';

/** The id of the job that stands for a fetch, or for a mailbox. */
export function jobIdOf(tenant: string, id: string): string {
  return `${tenant}/${id}`;
}

/** KEYS: the list of waiting jobs. ARGV: how many of the next ones are looked at. */
const readTenants = defineScript(`
  local seen, tenants, latest = {}, {}, ''
  for _, id in ipairs(redis.call('LRANGE', KEYS[1], -ARGV[1], -1)) do
    -- Mostly the tenant is that of the job before.
    if latest == '' or string.sub(id, 1, #latest) ~= latest then
      latest = string.match(id, '^.*/') or ''
      if latest ~= '' and not seen[latest] then
        seen[latest] = true
        tenants[#tenants + 1] = string.sub(latest, 1, -2)
      end
    end
  end
  return tenants`);

export async function readWaitingTenants(redis: RedisClient, queue: string): Promise<ReadonlySet<string>> {
  return new Set((await readTenants(redis, [queueKeys(queue).wait], [waitingJobsMax])) as string[]);
}
