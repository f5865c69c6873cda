/** A stored mailbox by name, and what its id alone decides: which due index and queue it is in, and its place in a period. */
import { hash } from 'node:crypto';
import { mailboxShards } from './limits.ts';

export function shardOf(mailboxId: string): number {
  return digest(mailboxId).readUInt32BE(4) % mailboxShards;
}

/** From 0 up to, but not, 1: evenly spread, whatever the ids look like, and the same for ever. */
export function phaseOf(mailboxId: string): number {
  return digest(mailboxId).readUInt32BE(0) / 2 ** 32;
}

function digest(mailboxId: string): Buffer {
  return hash('sha256', mailboxId, 'buffer');
}
