/**
 * Room for the bytes of attachments in what is being sent, for all attempts of a process together: those that hang keep theirs in
 * memory until they end. Nobody waits for it. Who gets none sends links alone.
 */
import type { TakeBytes } from '../event/inline-attachments.ts';

export interface PayloadRoom {
  /** For one attempt. */
  enter(tenant: string): { take: TakeBytes; /** Gives all of it back. */ leave(): void };
}

export interface PayloadRoomOptions {
  /** Bytes in all. */
  max: number;
  /** Bytes of one tenant. */
  maxOfOne: number;
}

export function createPayloadRoom({ max, maxOfOne }: PayloadRoomOptions): PayloadRoom {
  let all = 0;
  const ofTenant = new Map<string, number>();

  function add(tenant: string, bytes: number): void {
    all += bytes;
    const now = (ofTenant.get(tenant) ?? 0) + bytes;
    if (now > 0) ofTenant.set(tenant, now);
    else ofTenant.delete(tenant);
  }

  return {
    enter(tenant) {
      let mine = 0;
      return {
        take(bytes) {
          if (all + bytes > max || (ofTenant.get(tenant) ?? 0) + bytes > maxOfOne) return false;
          mine += bytes;
          add(tenant, bytes);
          return true;
        },
        leave() {
          add(tenant, -mine);
          mine = 0;
        },
      };
    },
  };
}
