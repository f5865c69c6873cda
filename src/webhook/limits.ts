/** Every bound of webhook delivery. Times in milliseconds. */

/** A pause is this much longer or shorter, at random, so that what failed together does not come back together. */
export const jitterRatio = 0.2;
/** DNS, connect, TLS, request and answer of one attempt. */
export const attemptTimeoutMs = 15_000;
/** Bytes of an answer, decompressed, that are read. */
export const answerBytesMax = 16 * 1024;
/** Characters of an answer that are kept. */
export const detailCharsMax = 500;
/** Bytes of attachments, as base64, in all that is being sent; past them payloads have links in their place. One tenant has half of them at most. */
export const inlinedBytesMax = 64 * 1024 * 1024;
/** Requests at once to the webhook of a fetch. */
export const fetchWebhookConcurrency = 5;
/** Webhooks of a tenant: each event is held against all of them. */
export const webhooksMax = 1_000;
/** Webhooks of all tenants that a process has in memory to hold events against. */
export const webhooksCachedMax = 10_000;
/** Bytes of a secret, and secrets that sign at once. */
export const secretBytes = 32;
export const secretsMax = 3;
/** How often a change is tried anew where another came between. */
export const changesMax = 20;
/** `Retry-After` is honoured up to this. */
export const retryAfterMsMax = 24 * 60 * 60 * 1000;
/** Sorted sets over which the webhooks of all tenants are spread by when something is due to them. */
export const webhookShards = 4;
/** How often a worker looks for what is due, and for how long what it takes is put off should it die. */
export const tickEveryMs = 200;
export const tickFaultMs = 2_000;
export const claimMs = 5_000;
/** How long a worker has a webhook to itself, and how often it says that it still is there. */
export const drainerMs = 10_000;
export const drainerRenewMs = 2_500;
/** Deliveries are put on record together so often. */
export const recordBeatMs = 25;
/** Places of those that have been answered go to others together so often: what is sent next then asks Redis for its messages at once. */
export const leaveBeatMs = 2;
/** Answered deliveries of a webhook that are not on record yet: should the worker die, as many are made again. */
export const unrecordedMax = 100;
/** Places that one webhook is given one after the other while others wait. */
export const placesInTurn = 8;
/** How long it goes by what was last heard of whether webhooks of the tenant have changed. */
export const versionAgeMs = 50;
/** How often it looks for more while requests to it are under way. */
export const drainEveryMs = 100;
/** The same where nothing came of it: the pause grows to this. */
export const drainEveryMsMax = 1_000;
/** Deliveries of a webhook that are read from Redis at once. */
export const listedMin = 20;
export const listedMax = 100;
/** Webhooks that a worker delivers to at once: each that hangs has its place here. One tenant has half of them at most. */
export const drainsMax = 2_000;
/** An attempt that takes longer than this goes on among the slow ones, and makes room for the others. */
export const slowAnswerMs = 250;
/** The same where others wait for its place. */
export const crowdedAnswerMs = 50;
/** What a fault of ours puts a delivery off by. It costs the endpoint no attempt. */
export const faultDelayMs = 5_000;
/** After so many in a row it puts off all that is due to the webhook, by twice as long each time, up to this. */
export const faultsMin = 10;
export const faultPauseMsMax = 60_000;
/** Attempts of a delivery that are kept. */
export const attemptsKept = 20;
/** Deliveries of a webhook that have ended are kept up to this number, and for so long. */
export const endedMax = 10_000;
export const endedAgeMs = 30 * 24 * 60 * 60 * 1000;
/** Who has yet to acknowledge a message is known for so long since the last one has; that all have, for as long as it may be told again. */
export const awaitedMs = 30 * 24 * 60 * 60 * 1000;
export const awaitedNoMoreMs = 24 * 60 * 60 * 1000;
/** The breaker looks at so many results, opens at this share of failures of at least so many, and stays open for twice as long each time. */
export const breakerResults = 20;
export const breakerResultsMin = 10;
export const breakerShare = 0.7;
export const breakerOpenMs = 30_000;
export const breakerOpenMsMax = 15 * 60 * 1000;
/** How long an endpoint that has too much to do is left alone, where it does not say; and at most, whatever it says. */
export const slowedPauseMs = 1_000;
export const slowedPauseMsMax = 15 * 60 * 1000;
/** A webhook that has acknowledged nothing for so long is disabled. */
export const disabledAfterMs = 5 * 24 * 60 * 60 * 1000;
/** Deliveries that one request looks through. */
export const lookedThroughMax = 500;
