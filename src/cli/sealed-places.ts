/** All that is sealed under a master key, wherever it lies. What seals something at a new place is to be listed here as well. */
import { createCredentialStore } from '../mailbox/credentials.ts';
import { createMailboxStore } from '../mailbox/mailbox-store.ts';
import type { Sealer } from '../mailbox/sealing.ts';
import type { BlobStore } from '../message/blobs/blob-store.ts';
import { listSealedDataKeys } from '../message/data-keys.ts';
import type { RedisClient } from '../redis/client.ts';
import type { SealedKey } from '../redis/keys.ts';
import { scanSealedKeys } from '../redis/sealed-keys.ts';
import type { SealedValue } from '../redis/sealed-value.ts';
import { createFetchWebhooks } from '../webhook/fetch-webhooks.ts';
import { createWebhookStore } from '../webhook/webhook-store.ts';

export interface SealedPlaces {
  /** What is there all the time is found at least once; what is made meanwhile may be missed. */
  scan(): AsyncIterable<readonly SealedKey[]>;
  /** None where it is gone. */
  list(place: SealedKey): Promise<SealedValue[]>;
}

export function createSealedPlaces(redis: RedisClient, blobs: BlobStore, sealer: Sealer): SealedPlaces {
  const mailboxes = createMailboxStore(redis, sealer);
  // Nothing is put there: how long it would be kept does not matter.
  const credentials = createCredentialStore(redis, sealer, 1);
  const fetchWebhooks = createFetchWebhooks(redis, sealer);
  const webhooks = createWebhookStore(redis, sealer);
  return {
    scan: () => scanSealedKeys(redis),
    list({ kind, tenant, id }) {
      if (kind === 'mailbox') return mailboxes.listSealed({ tenant, mailbox: id });
      if (kind === 'webhookSecrets') return webhooks.listSealed(tenant);
      if (kind === 'dataKeys') return listSealedDataKeys(redis, blobs, tenant);
      return (kind === 'webhook' ? fetchWebhooks : credentials).listSealed({ tenant, id });
    },
  };
}
