/** Every bound of webhook delivery. Times in milliseconds. */

/** Pauses before each attempt after the first, with jitter: three days in all. */
export const retryDelaysMs: readonly number[] = [
  5_000, // 5 s
  300_000, // 5 min
  1_800_000, // 30 min
  7_200_000, // 2 h
  18_000_000, // 5 h
  36_000_000, // 10 h
  50_400_000, // 14 h
  72_000_000, // 20 h
  86_400_000, // 24 h
];
export const attemptsMax = retryDelaysMs.length + 1;
/** A pause is this much longer or shorter, at random, so that what failed together does not come back together. */
export const jitterRatio = 0.2;
/** DNS, connect, TLS, request and answer of one attempt. */
export const attemptTimeoutMs = 15_000;
/** Bytes of an answer that are read. */
export const answerBytesMax = 16 * 1024;
/** Characters of an answer that are kept. */
export const detailCharsMax = 500;
/** Seals and delivery states outlive the last attempt. */
export const subscriptionTtlMs = 5 * 24 * 60 * 60 * 1000;
/** Sockets to one endpoint. */
export const connectionsPerHostMax = 8;
export const jobLockMs = 30_000;
export const stalledCheckMs = 5_000;
/** BullMQ: how often a delivery may be taken up, crashes and our own faults included. */
export const jobStartsMax = 1_000;
export const jobStallsMax = 50;
/** The pause after a fault of ours, which costs the endpoint no attempt: it grows by this each time the delivery is taken up. */
export const ownFaultDelayMs = 2_000;
export const ownFaultDelayMsMax = 300_000;
export const jobKeep = { age: 3600, count: 1000 } as const;
export const eventsMax = 100;
/** Webhooks of a tenant: each event is held against all of them. */
export const webhooksMax = 1_000;
/** Bytes of a secret, and secrets that sign at once. */
export const secretBytes = 32;
export const secretsMax = 3;
/** How often a change is tried anew where another came between. */
export const changesMax = 20;
