/** What is in a maildrop: numbers, sizes and unique-ids, put together. */
import type { Pop3Client } from '../pop3/index.ts';
import type { Listed } from './plan.ts';

/** In the order of the numbers. `hasUidl` is false where the server has no unique-ids. */
export async function listMaildrop(client: Pop3Client): Promise<{ listing: Listed[]; hasUidl: boolean }> {
  const uidls = await client.uidl();
  const sizes = await client.list();
  const numbers = new Set([...sizes.keys(), ...(uidls?.keys() ?? [])]);
  const listing = [...numbers]
    .toSorted((a, b) => a - b)
    .map((number) => ({ number, bytes: sizes.get(number) ?? null, uidl: uidls?.get(number) ?? null }));
  return { listing, hasUidl: uidls !== null };
}

/** Those of unknown size left out. */
export function bytesOf(messages: readonly Pick<Listed, 'bytes'>[]): number {
  return messages.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
}
