/**
 * Whether the server keeps its word that a unique-id stays with its message (RFC 1939 §7). Some number their messages anew after a
 * restore or a migration, some give an old unique-id to a new mail. No mail is lost or announced twice by that, as the bytes tell;
 * but all of it is retrieved again, which the owner should know. Pure.
 */
import type { LedgerEntry } from './ledger.ts';
import { renumberedMin } from './limits.ts';
import { keyListing, type Listed } from './plan.ts';

export type UniqueIdFinding = 'unique_ids_changed' | 'unique_ids_reused';

export class UniqueIdWatch {
  readonly #ledger: ReadonlyMap<string, LedgerEntry>;
  readonly #listing: readonly Listed[];
  /** Digest of what was announced, to the key that it had. */
  readonly #keys = new Map<string, string>();
  #met = 0;
  #reused = 0;
  /** Keys under which bytes came before that came under another now. */
  readonly #left = new Set<string>();

  constructor(ledger: ReadonlyMap<string, LedgerEntry>, listing: readonly Listed[]) {
    this.#ledger = ledger;
    this.#listing = listing;
    for (const [key, entry] of ledger) {
      const isStored = entry.state === 'stored' || entry.state === 'deleted';
      if (isStored && entry.digest !== null) this.#keys.set(entry.digest, key);
    }
  }

  /** Whether a message with these bytes was stored, and so announced, before this session. */
  isAnnounced(digest: string): boolean {
    return this.#keys.has(digest);
  }

  /** A message is here. @param key null where the server gave it no unique-id. */
  meet(key: string | null, digest: string): void {
    if (key === null) return;
    this.#met += 1;
    const known = this.#ledger.get(key);
    if (known?.state === 'stored' && known.digest !== null && known.digest !== digest) this.#reused += 1;
    const before = this.#keys.get(digest);
    if (!known && before !== undefined) this.#left.add(before);
  }

  /** The same bytes twice are two copies, as long as the first is still listed; and one that moved may have been put back by hand. */
  findings(): UniqueIdFinding[] {
    const findings: UniqueIdFinding[] = [];
    if (this.#reused > 0) findings.push('unique_ids_reused');
    if (this.#left.size > 0) {
      const listed = new Set(keyListing(this.#listing).map(({ key }) => key));
      const renumbered = [...this.#left].filter((key) => !listed.has(key)).length;
      if (renumbered >= renumberedMin && renumbered * 2 >= this.#met) findings.push('unique_ids_changed');
    }
    return findings;
  }
}
