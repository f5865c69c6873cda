/**
 * The key layout: the only place that knows names of Redis keys and their hash tags.
 *
 * Every key belongs to a tenant. The tag in braces is the resource that owns the key, so that all keys of one fetch share
 * a slot of Redis Cluster, and scripts on them stay atomic there.
 */
const PREFIX = 'pb';

export interface FetchKeys {
  /** Hash: the fetch record. */
  record: string;
  /** Hash: message key to ledger entry. */
  ledger: string;
  /** Sorted set: message ids by message number. */
  order: string;
  /** Hash: sealed credentials. */
  credentials: string;
}

export function fetchKeys(tenant: string, fetchId: string): FetchKeys {
  const tag = `${PREFIX}:{${tenant}/${fetchId}}`;
  return {
    record: `${tag}:fetch`,
    ledger: `${tag}:ledger`,
    order: `${tag}:order`,
    credentials: `${tag}:credentials`,
  };
}

export interface MailboxKeys {
  /** String: the fencing token of who fetched last in 16 digits, settings, status, and sealed credentials. */
  record: string;
  /** String: the id of the fetch that the schedule has made, until it has ended. */
  scheduled: string;
  /** String: the ledger as it was last folded. */
  ledger: string;
  /** Hash: message key to ledger entry, of what was marked since. */
  marks: string;
  /** Set: ids of messages that were acknowledged, or deleted here, since the last fetch. */
  released: string;
  /** Of its access token. */
  token: string;
  tokenTurn: string;
  tokenPause: string;
}

export function mailboxKeys(tenant: string, mailboxId: string): MailboxKeys {
  const tag = `${PREFIX}:{${tenant}/${mailboxId}}`;
  return {
    record: `${tag}:mailbox`,
    scheduled: `${tag}:scheduled`,
    ledger: `${tag}:known`,
    marks: `${tag}:marks`,
    released: `${tag}:released`,
    ...tokenKeys(tenant, mailboxId),
  };
}

export interface TokenKeys {
  /** String: the sealed access token, until it expires. */
  token: string;
  /** String: who is asking for a new one. */
  tokenTurn: string;
  /** String: why the token endpoint is not asked, until it may be again. */
  tokenPause: string;
}

/** @param owner the id of a mailbox, or of a fetch with inline settings. */
export function tokenKeys(tenant: string, owner: string): TokenKeys {
  const tag = `${PREFIX}:{${tenant}/${owner}}`;
  return { token: `${tag}:token`, tokenTurn: `${tag}:tokenTurn`, tokenPause: `${tag}:tokenPause` };
}

/** Sorted set: ids of the tenant's mailboxes, all of one score, and so in their own order. */
export function mailboxesKey(tenant: string): string {
  return `${PREFIX}:{${tenant}}:mailboxes`;
}

/** Set: ids of the stored mailboxes that point at a maildrop. */
export function maildropKey(tenant: string, maildropId: string): string {
  return `${PREFIX}:{${tenant}/${maildropId}}:maildrop`;
}

export interface WebhooksKeys {
  /** Hash: webhook id to its settings and state. */
  records: string;
  /** Hash: webhook id to its sealed secrets. */
  secrets: string;
  /** String: another one after each change of a record; who has read them all knows by it whether they are the same. */
  version: string;
}

/** All webhooks of a tenant: each event is held against all of them. */
export function webhooksKeys(tenant: string): WebhooksKeys {
  const tag = `${PREFIX}:{${tenant}}`;
  return { records: `${tag}:webhooks`, secrets: `${tag}:webhookSecrets`, version: `${tag}:webhooksVersion` };
}

export interface WebhookKeys {
  /** Hash: event id to the delivery of it. */
  deliveries: string;
  /** Sorted set: event ids of all these deliveries, by when they were begun. Times are epoch milliseconds. */
  log: string;
  /** Sorted set: those of them that have ended, by when. */
  ended: string;
  /** Set: those of these that happened while popbridge had the webhook disabled. */
  missed: string;
  /** Sorted set: event ids, or lines, by when their next attempt is due. */
  queue: string;
  /** String: how the endpoint has fared. */
  health: string;
  /** String: the worker that delivers to it. */
  drainer: string;
  /** Hash, of the webhook of a fetch alone: its URL, its sealed secret, and how its deliveries stand. All of it expires together. */
  ofFetch: string;
}

/** Of the deliveries to one webhook. @param owner the id of the webhook; of the fetch where it is the webhook of one. */
export function webhookKeys(tenant: string, owner: string): WebhookKeys {
  const tag = `${PREFIX}:{${tenant}/${owner}}`;
  return {
    deliveries: `${tag}:sent`,
    log: `${tag}:log`,
    ended: `${tag}:ended`,
    missed: `${tag}:missed`,
    queue: `${tag}:queue`,
    health: `${tag}:health`,
    drainer: `${tag}:drainer`,
    ofFetch: `${tag}:webhook`,
  };
}

/** Set: ids of the webhooks that have yet to acknowledge the message that the event is about. */
export function awaitedKey(tenant: string, eventId: string): string {
  return `${PREFIX}:{${tenant}/${eventId}}:awaited`;
}

/** List: event ids of a mailbox that are delivered in their order, to one webhook. */
export function webhookLineKey(tenant: string, owner: string, line: string): string {
  return `${PREFIX}:{${tenant}/${owner}}:line:${line}`;
}

/** Sorted set: `tenant/webhook id` by when a delivery to it is due, in epoch milliseconds, of one shard of the webhooks of all tenants. */
export function dueWebhooksKey(shard: number): string {
  return `${PREFIX}:{hooks/${shard}}:due`;
}

export interface EventKeys {
  /** Stream: the tenant's events, by when and as which they came: `milliseconds-place`. */
  log: string;
  /** Hash: the id of the last entry of the log, and how many events each mailbox has had. */
  places: string;
  /** Sorted set: mailboxes that were not stored when they last had an event, or were deleted, by when, in epoch milliseconds. */
  leaving: string;
  /** Hash: event id to sequence, of the events that came lately; and the same of those before them. */
  recent: string;
  recentBefore: string;
  /** Hashes by the name of a consumer: what it wants, and its cursor. */
  consumers: string;
  cursors: string;
  /** Channel: the id of the log's last entry, whenever there is one. */
  channel: string;
}

export function eventKeys(tenant: string): EventKeys {
  const tag = `${PREFIX}:{${tenant}}:events`;
  return {
    log: tag,
    places: `${tag}:places`,
    leaving: `${tag}:leaving`,
    recent: `${tag}:recent`,
    recentBefore: `${tag}:recentBefore`,
    consumers: `${tag}:consumers`,
    cursors: `${tag}:cursors`,
    channel: `${tag}:news`,
  };
}

/** String: the sealed message record. */
export function messageKey(tenant: string, messageId: string): string {
  return `${PREFIX}:{${tenant}/${messageId}}:message`;
}

/**
 * Hash: the messages whose bytes are in the blob, by id and by when they were stored. There is one for each message that is
 * stored alone: a longer name would cost each of them 16 bytes.
 */
export function blobMembersKey(tenant: string, blobId: string): string {
  return `${PREFIX}:{${tenant}/${blobId}}:in`;
}

/** Hash: the tenant's data keys by id, wrapped; and `current`, the id of the one to seal with. */
export function dataKeysKey(tenant: string): string {
  return `${PREFIX}:{${tenant}}:dataKeys`;
}

export interface SealedKey {
  /** What is sealed there: credentials of a stored mailbox or of a fetch, the secret of a fetch's webhook, those of all the tenant's webhooks, data keys. */
  kind: 'mailbox' | 'credentials' | 'webhook' | 'webhookSecrets' | 'dataKeys';
  tenant: string;
  /** Of the mailbox or the fetch; empty for what is the tenant's. */
  id: string;
}

/** What holds something sealed under a master key, and as little else as a pattern can say: the many messages are not in it. */
export const SEALED_KEYS_PATTERN = `${PREFIX}:{*}:[cdmw]*[ksx]`;
const SEALED_KEY = new RegExp(
  `^${PREFIX}:\\{([^/{}]+)(?:/([^{}]+))?\\}:(mailbox|credentials|webhook|webhookSecrets|dataKeys)$`,
);

/** Null where it is another key. Whoever seals something under a master key at a new place has it found here. */
export function parseSealedKey(key: string): SealedKey | null {
  const [, tenant = '', id = '', kind = ''] = SEALED_KEY.exec(key) ?? [];
  return kind === '' ? null : { kind: kind as SealedKey['kind'], tenant, id };
}

export interface MessageIndexKeys {
  /** Sorted sets: ids of messages by when they were fetched, and by when they were received; epoch milliseconds. */
  fetched: string;
  received: string;
  /** Hash: how many messages and bytes these are. */
  usage: string;
}

/** Of one shard of all of a tenant's messages. */
export function tenantIndexKeys(tenant: string, shard: number): MessageIndexKeys {
  return indexKeys(`${tenant}/${shard}`);
}

/** Of the messages of a mailbox. */
export function mailboxIndexKeys(tenant: string, mailboxId: string): MessageIndexKeys {
  return indexKeys(`${tenant}/${mailboxId}`);
}

function indexKeys(owner: string): MessageIndexKeys {
  const tag = `${PREFIX}:{${owner}}`;
  return { fetched: `${tag}:fetched`, received: `${tag}:received`, usage: `${tag}:usage` };
}

/** Hash: the beginning of a message's digest to the id of the first message of the mailbox that has it. */
export function digestsKey(tenant: string, mailboxId: string): string {
  return `${PREFIX}:{${tenant}/${mailboxId}}:digests`;
}

/** Sorted set: `tenant/message id` by when it expires, of one shard of the messages of all tenants. */
export function expiryKey(shard: number): string {
  return `${PREFIX}:{expiry/${shard}}:messages`;
}

/** String: the owner of the maildrop's lease; and the last fencing token that was given out for it. */
export function leaseKeys(tenant: string, mailboxId: string): { owner: string; fence: string } {
  const tag = `${PREFIX}:{${tenant}/${mailboxId}}`;
  return { owner: `${tag}:lease`, fence: `${tag}:fence` };
}

export interface HostKeys {
  /** Sorted set: `owner tenant` of each session by when its slot frees itself. Times are epoch milliseconds. */
  slots: string;
  /** Sorted set: tenants that wait for the host, by until when they count as waiting. */
  waiting: string;
  /** Sorted set: the same tenants by since when it is their turn. */
  turns: string;
  /** Hash: the logins that are left and when that was; the end of each tenant's line; what is known of ports that do not answer. */
  state: string;
}

/** Of an upstream host, whoever asks for it. */
export function hostKeys(host: string): HostKeys {
  const tag = `${PREFIX}:{host/${host}}`;
  return { slots: `${tag}:slots`, waiting: `${tag}:waiting`, turns: `${tag}:turns`, state: `${tag}:state` };
}

export interface DueKeys {
  /** Sorted set: `tenant/mailbox id` by when it is due, in epoch milliseconds. */
  mailboxes: string;
  /** String: the process whose turn it is to look for what is due. */
  turn: string;
}

/** Of one shard of the mailboxes of all tenants. */
export function dueKeys(shard: number): DueKeys {
  const tag = `${PREFIX}:{due/${shard}}`;
  return { mailboxes: `${tag}:mailboxes`, turn: `${tag}:turn` };
}

/** String: there while all blobs have been held against their messages within the last day. */
export const auditKey = `${PREFIX}:{audit}:done`;

/** String: when this Redis was first held against the blobs, in epoch milliseconds. */
export const auditSinceKey = `${PREFIX}:{audit}:since`;

export interface BlobKeys {
  /** String: the bytes. */
  blob: string;
  /** Sorted set: TENANT/ID by time of writing, in microseconds, each its own. */
  written: string;
  /** Sorted set: ids of half-written blobs by the time of their last growth, in milliseconds. */
  drafts: string;
  /** String: how many bytes all blobs and drafts have together. */
  bytes: string;
}

/**
 * Blobs of the Redis blob store. They share one slot, whoever they belong to: what they take up together is bounded, and
 * counted in the same step as each of them is written. Who needs more than a node holds keeps mail elsewhere.
 */
export function blobKeys(tenant: string, blobId: string): BlobKeys {
  return { blob: `${BLOBS}:blob:${tenant}/${blobId}`, ...blobStoreKeys };
}

const BLOBS = `${PREFIX}:{blobs}`;

export const blobStoreKeys: Omit<BlobKeys, 'blob'> = {
  written: `${BLOBS}:written`,
  drafts: `${BLOBS}:drafts`,
  bytes: `${BLOBS}:bytes`,
};

/** String: what there is of a half-written blob. */
export function blobDraftKey(draftId: string): string {
  return `${BLOBS}:draft:${draftId}`;
}

/**
 * String: written and gone again when a server is asked what is on its disk. Of no tenant, as it says nothing. Among
 * those with a number there is one for each master of a cluster.
 */
export function durabilityKey(number: number): string {
  return `${PREFIX}:{durability${number === 0 ? '' : `/${number}`}}:mark`;
}

/** Hash: the version of all data here. Of no tenant. */
export const dataKey = `${PREFIX}:{data}:version`;

/** BullMQ puts the queue's name behind its prefix; the tag keeps all keys of one queue on one slot. */
export function queuePrefix(queue: string): string {
  return `${PREFIX}:{queue/${queue}}`;
}

/** BullMQ's own. */
export interface QueueKeys {
  /** Lists: the ids of jobs that wait to be taken up, of which the last one is next; and of those that are under way. */
  wait: string;
  active: string;
  /** Sorted set: the ids of jobs that are put off. */
  delayed: string;
  /** Hash: a job. */
  jobOf(id: string): string;
}

export function queueKeys(queue: string): QueueKeys {
  const base = `${queuePrefix(queue)}:${queue}`;
  return { wait: `${base}:wait`, active: `${base}:active`, delayed: `${base}:delayed`, jobOf: (id) => `${base}:${id}` };
}

/** Set: what is in a state that is not the usual one, of one shard of all of a kind. */
export function stateKey(kind: string, shard: number, state: string): string {
  return `${PREFIX}:{states/${kind}/${shard}}:${state}`;
}

/** String: the process that serves what all of them share. */
export const metricsTurnKey = `${PREFIX}:{metrics}:turn`;
