/** Access tokens in Redis, sealed, until they expire; whose turn it is to get one; and endpoints that want to be left alone. */
import type { RedisClient } from '../../redis/client.ts';
import { tokenKeys } from '../../redis/keys.ts';
import { defineScript } from '../../redis/script.ts';
import type { Sealer } from '../sealing.ts';
import { turnMs } from './limits.ts';

/** Whose token it is. */
export interface TokenOwner {
  tenant: string;
  /** The id of a mailbox, or of a fetch with inline settings. */
  id: string;
}

export interface CachedToken {
  accessToken: string;
  /** The grant that it came from: another one's token is none of its own. */
  grantId: string;
  /** Epoch milliseconds. */
  expiresAtMs: number;
  lifeMs: number;
}

export interface EndpointPause {
  grantId: string;
  detail: string;
  /** Epoch milliseconds. */
  untilMs: number;
}

export interface TokenStore {
  /** Null also for one that cannot be opened any more: it is got anew. */
  find(owner: TokenOwner, grantId: string): Promise<CachedToken | null>;
  put(owner: TokenOwner, token: CachedToken, ttlMs: number): Promise<void>;
  drop(owner: TokenOwner): Promise<void>;
  /** False while another has it. `by` is unique to who asks. */
  takeTurn(owner: TokenOwner, by: string): Promise<boolean>;
  endTurn(owner: TokenOwner, by: string): Promise<void>;
  findPause(owner: TokenOwner, grantId: string): Promise<EndpointPause | null>;
  pause(owner: TokenOwner, pause: EndpointPause, ttlMs: number): Promise<void>;
}

const endOwnTurn = defineScript(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('DEL', KEYS[1])`);

export function createTokenStore(redis: RedisClient, sealer: Sealer): TokenStore {
  const keysOf = ({ tenant, id }: TokenOwner) => tokenKeys(tenant, id);
  const contextOf = ({ tenant, id }: TokenOwner): string[] => [tenant, id, 'access_token'];
  return {
    async find(owner, grantId) {
      const sealed = await redis.get(keysOf(owner).token);
      if (sealed === null) return null;
      try {
        const token = JSON.parse(sealer.open(sealed, contextOf(owner))) as CachedToken;
        return token.grantId === grantId ? token : null;
      } catch {
        return null;
      }
    },
    async put(owner, token, ttlMs) {
      const sealed = sealer.seal(JSON.stringify(token), contextOf(owner));
      await redis.set(keysOf(owner).token, sealed, 'PX', Math.max(1, Math.floor(ttlMs)));
    },
    async drop(owner) {
      await redis.del(keysOf(owner).token);
    },
    async takeTurn(owner, by) {
      return (await redis.set(keysOf(owner).tokenTurn, by, 'PX', turnMs, 'NX')) === 'OK';
    },
    async endTurn(owner, by) {
      await endOwnTurn(redis, [keysOf(owner).tokenTurn], [by]);
    },
    async findPause(owner, grantId) {
      const text = await redis.get(keysOf(owner).tokenPause);
      const pause = text === null ? null : (JSON.parse(text) as EndpointPause);
      return pause?.grantId === grantId ? pause : null;
    },
    async pause(owner, pause, ttlMs) {
      await redis.set(keysOf(owner).tokenPause, JSON.stringify(pause), 'PX', Math.max(1, Math.floor(ttlMs)));
    },
  };
}
