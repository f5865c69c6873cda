/**
 * What has changed of the data in Redis since its first version, in order.
 *
 * A change is made in two releases, as programs of two versions run side by side while a cluster is upgraded: the first
 * reads both forms (and migrates what it must), the second no longer knows the old one, and says so by `readableBy`.
 */
import type { RedisClient } from './client.ts';

export interface Migration {
  /** The oldest data version whose programs work on what this one leaves. */
  readableBy: number;
  /** May be broken off, run twice, and run by two processes at once, while programs work on the same data. */
  run(redis: RedisClient): Promise<void>;
}

/** The first leads from version 1 to 2, and so on. */
export const MIGRATIONS: readonly Migration[] = [];
