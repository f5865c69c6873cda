/**
 * Which master key has sealed what, and putting the first in the place of all others. Whatever runs meanwhile goes on: a value is
 * replaced only where it is still the one that was read, and a rotation that was broken off is begun again.
 */
import { AppError } from '../errors.ts';
import { keyIdOf, type Sealer } from '../mailbox/sealing.ts';
import type { SealedKey } from '../redis/keys.ts';
import type { SealedValue } from '../redis/sealed-value.ts';
import { failuresNamedMax, passesMax } from './limits.ts';
import type { SealedPlaces } from './sealed-places.ts';

export interface KeyCount {
  /** The key's id. */
  id: string;
  /** What of it popbridge knows: the key that seals, one that opens, or none. */
  role: 'seals' | 'opens' | 'missing';
  mailboxes: number;
  credentials: number;
  webhooks: number;
  dataKeys: number;
}

export interface RotationFailure {
  /** `KIND TENANT/ID`. */
  place: string;
  reason: string;
}

export interface Rotation {
  sealedAnew: number;
  failed: number;
  /** The first of them. */
  failures: RotationFailure[];
  /** Nothing is left under another key than the first. */
  isComplete: boolean;
  /** Keys that nothing needs any more. */
  unused: string[];
}

export interface RotationPorts {
  places: SealedPlaces;
  sealer: Sealer;
  /** Resolves when all that was written since `begin` is on Redis's disk. @throws AppError `storage_failed`. */
  durability: { begin(): Promise<{ confirm(): Promise<void> }> };
  onProgress(text: string): void;
}

const COLUMNS = {
  mailbox: 'mailboxes',
  credentials: 'credentials',
  webhook: 'webhooks',
  webhookSecrets: 'webhooks',
  dataKeys: 'dataKeys',
} as const;

export async function countSealed({ places, sealer }: Pick<RotationPorts, 'places' | 'sealer'>): Promise<KeyCount[]> {
  const counts = new Map<string, KeyCount>();
  const countOf = (id: string): KeyCount => {
    const role = id === sealer.sealingId ? 'seals' : sealer.keyIds.includes(id) ? 'opens' : 'missing';
    const count = counts.get(id) ?? { id, role, mailboxes: 0, credentials: 0, webhooks: 0, dataKeys: 0 };
    counts.set(id, count);
    return count;
  };
  for (const id of sealer.keyIds) countOf(id);
  const seen = new Set<string>();
  for await (const page of places.scan()) {
    for (const { place, values } of await readPage(places, page)) {
      if (seen.has(nameOf(place))) continue;
      seen.add(nameOf(place));
      for (const { sealed } of values) countOf(keyIdOf(sealed) ?? 'unreadable')[COLUMNS[place.kind]] += 1;
    }
  }
  return [...counts.values()];
}

/** @throws AppError `storage_failed` where Redis cannot say that it is on its disk: then no key may be taken away. */
export async function rotateKeys({ places, sealer, durability, onProgress }: RotationPorts): Promise<Rotation> {
  const check = await durability.begin();
  const failures = new Map<string, RotationFailure>();
  let sealedAnew = 0;

  /** True where all is sealed by the first key, or cannot be. */
  async function settle({ place, values }: PlaceValues): Promise<boolean> {
    let isSettled = true;
    for (const value of values) {
      if (!sealer.isOutdated(value.sealed)) continue;
      isSettled = false;
      try {
        const sealed = sealer.seal(sealer.open(value.sealed, value.context), value.context);
        if (await value.replace(sealed)) sealedAnew += 1;
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'credentials_unavailable') throw error;
        failures.set(nameOf(place), { place: nameOf(place), reason: error.message });
        isSettled = true;
      }
    }
    return isSettled;
  }

  let isSettled = false;
  for (let pass = 1; !isSettled && pass <= passesMax; pass += 1) {
    isSettled = true;
    failures.clear();
    for await (const page of places.scan()) {
      const read = await readPage(places, page);
      const settled = await Promise.all(read.map(settle));
      isSettled &&= settled.every(Boolean);
      onProgress(`pass ${pass}: ${sealedAnew} sealed anew, ${failures.size} cannot be opened`);
    }
  }
  await check.confirm();
  const isComplete = isSettled && failures.size === 0;
  return {
    sealedAnew,
    failed: failures.size,
    failures: [...failures.values()].slice(0, failuresNamedMax),
    isComplete,
    unused: isComplete ? sealer.keyIds.filter((id) => id !== sealer.sealingId) : [],
  };
}

interface PlaceValues {
  place: SealedKey;
  values: SealedValue[];
}

function readPage(places: SealedPlaces, page: readonly SealedKey[]): Promise<PlaceValues[]> {
  return Promise.all(page.map(async (place) => ({ place, values: await places.list(place) })));
}

function nameOf({ kind, tenant, id }: SealedKey): string {
  return id === '' ? `${kind} ${tenant}` : `${kind} ${tenant}/${id}`;
}
