/** Every bound of the fetch pipeline. Times in milliseconds. */

/** How long credentials wait, sealed, for a worker. A fetch that is not through by then ends as `credentials_unavailable`. */
export const credentialsTtlMs = 24 * 60 * 60 * 1000;
/** How long a maildrop's lease outlives the last renewal: the pause after a killed worker. */
export const leaseTtlMs = 10_000;
/** How often a running fetch renews its lease and asks whether it was cancelled. */
export const heartbeatMs = 500;
/** What a session has beyond `limits.seconds` to finish a message, delete and quit. */
export const sessionGraceMs = 30_000;
/** Servers that are remembered not to bear pipelining, and for how long: it may have been a mere disconnect. */
export const pipeliningPlacesMax = 10_000;
export const pipeliningMemoryMs = 24 * 60 * 60 * 1000;
/** Message failures that the record keeps. */
export const failuresMax = 100;
/** Characters of one failure's detail. */
export const detailCharsMax = 1000;
/** Messages, and their bytes, that are committed together at most; and how long the first of them waits for the others. */
export const commitMessagesMax = 64;
export const commitBytesMax = 1024 * 1024;
export const commitAfterMs = 100;
/** Bytes that are kept of the header section of a message too large to be retrieved. */
export const headersBytesMax = 256 * 1024;
/** Header sections that are asked for by TOP, held against the filter, before the messages that it wants are retrieved. */
export const filterBatchMax = 100;
/** Ledger entries that are marked by one script. */
export const marksMax = 1000;
/** Known messages under new unique-ids in one session, from which on the server has numbered anew, and nobody has put one back. */
export const renumberedMin = 3;
/** For how long a mailbox is warned of what was seen once. */
export const warningKeepMs = 30 * 24 * 60 * 60 * 1000;
/** How often the progress of a running fetch is written. */
export const progressEveryMs = 250;
/** Sessions that may break on asking for the header section of a message: then it is left out. */
export const brokenHeadersMax = 2;
/** Attempts in a row whose session broke without a single message settled. */
export const brokenSessionsMax = 2;
/** The same, where storage failed. */
export const storageAttemptsMax = 5;
/** Attempts in a row that a token endpoint in trouble ends, and how long a fetch waits for it between two of them. */
export const tokenAttemptsMax = 3;
export const tokenPauseMsMax = 60_000;
/** A maildrop that another fetch of ours holds is waited for as long as this, counted from the fetch's creation. */
export const leaseWaitMs = 60 * 60 * 1000;
export const leaseRecheckMsMin = 500;
export const leaseRecheckMsMax = 15_000;
/**
 * A fetch that finds its host busy, or others before it at a worker, asks again after this at the least, and later the longer
 * it has waited: after a hundredth of that, so that a day of waiting is some 1,500 asks.
 */
export const busyWaitMsMin = 100;
export const busyWaitMsMax = 120_000;
export const busyWaitShareOfAge = 0.01;
/** How many asks there are to one login that a host allows: some of them come in vain, and none that is free is to be left. */
export const asksPerLogin = 1.25;
/** Nor do those who wait come quicker than this one after the other, where a host allows very many logins. */
export const askSpacingMsMin = 5;
/** How long a tenant may be late with its ask before the slot that is kept for it goes to others. */
export const turnGraceMs = 2_000;
/** Connections to a port that timed out in a row, each within `circuitWindowMs` of the one before, until it is left alone. */
export const circuitFailuresMax = 5;
export const circuitWindowMs = 5 * 60 * 1000;
/** How long it is left alone then; twice as long after each probe that times out as well. */
export const circuitPauseMsMin = 15_000;
export const circuitPauseMsMax = 5 * 60 * 1000;
/** How long a probe may take until another one is sent: more than resolving and connecting may. */
export const circuitProbeMs = 30_000;
/** Over how long those who wait for such a host come back when the pause ends. */
export const circuitSpreadMs = 10_000;
/** How long a fetch waits for such a host, counted from its creation. */
export const deadHostWaitMs = 10 * 60 * 1000;
/** How long what is known of a host outlives the last ask. Longer than all of the above but a fetch's wait. */
export const hostStateTtlMs = 15 * 60 * 1000;
/** Entries of POPBRIDGE_HOST_LIMITS, and what each of its numbers may be. */
export const hostLimitsMax = 1_000;
export const hostConnectionsMax = 1_000;
export const hostLoginsPerSecondMax = 1_000;
/** How long a worker goes by what it has seen of who waits in its queue, and how many jobs it looks at. */
export const waitingTenantsMs = 250;
export const waitingJobsMax = 5_000;
/** A job that steps aside for other tenants comes back after `aside...Min` at the least, one after the other. */
export const asideMsMin = 250;
export const asideMsMax = 30_000;
export const asideSpacingMs = 5;
/** A maildrop that the server says is locked is waited for as long as this. */
export const lockedWaitMs = 10 * 60 * 1000;
/** Of the time to stop, the share after which sessions ask for no more messages, and the one after which they are cut. */
export const windUpShare = 0.4;
export const cutShare = 0.8;
/** BullMQ: how long a job's lock outlives its worker, and how often the dead ones are looked for. */
export const jobLockMs = 10_000;
export const stalledCheckMs = 3_000;
/** BullMQ: how often a job may be taken up, waits for a busy maildrop included, and how often its worker may die. */
export const jobStartsMax = 2_000;
export const jobStallsMax = 20;
/** BullMQ: attempts when Redis goes away under a job, and the pause between them. */
export const jobAttemptsMax = 1_000;
export const jobRetryMs = 2_000;
/** Finished jobs that BullMQ keeps, by age in seconds and by count: the record is what tells, not the job. */
export const jobKeep = { age: 3600, count: 1000 } as const;
/** Events that the stream of the queue keeps; they only wake who waits. */
export const eventsMax = 1000;
/** How long the end of reading the queue's events is waited for. */
export const eventsCloseMs = 1_000;
/** Messages that a page of the list holds at most. */
export const pageMessagesMax = 100;
/** While a caller waits for the end of a fetch, the record is looked at this often beside the queue's event. */
export const waitRecheckMs = 1000;
/** Bytes of a mailbox's ledger, uncompressed: about a million unique-ids. */
export const ledgerBytesMax = 128 * 1024 * 1024;
/** A mailbox's ledger is folded when so many entries were marked since, or such a share of those that it has. */
export const foldMarksMin = 64;
export const foldMarksShare = 1 / 8;
/** A unique-id is forgotten when so many complete listings in a row, an hour apart, were without it, and for so many seconds. */
export const absentListingsMin = 3;
export const absentCountEverySeconds = 3600;
export const absentSecondsMin = 7 * 24 * 3600;
/** Logins in a row that a server may refuse before the mailbox waits for other credentials. */
export const refusalsMax = 3;
/** When a mailbox whose fetch failed is fetched again: at first, doubled with each failure, and at most. */
export const mailboxRetryMs = 60_000;
export const mailboxRetryMsMax = 60 * 60 * 1000;
/** When one that the egress policy forbids is: nothing is connected to, and the policy may have changed. */
export const blockedRetryMs = 60 * 60 * 1000;

/** A mailbox is fetched no more often, and no less often, than this. */
export const everyMsMin = 30_000;
export const everyMsMax = 30 * 24 * 60 * 60 * 1000;
/** What cron expressions and names of time zones may be as text, and what is quoted of why one cannot be read. */
export const cronCharsMax = 100;
export const timeZoneCharsMax = 64;
export const cronReasonCharsMax = 200;
/** How long after the times of its cron expression a mailbox may be due: all that are due at 8:00 are spread over this. */
export const cronSpreadMsMax = 5 * 60 * 1000;
/** A new mailbox is fetched for the first time within this, however rarely it is fetched later. */
export const firstDueMsMax = 60 * 60 * 1000;
/** The longest pause between two logins that a server can ask for by LOGIN-DELAY. */
export const loginGapMsMax = 24 * 60 * 60 * 1000;
/** What a login may come later than its mailbox was due, before the next fetch has to be left out for LOGIN-DELAY's sake. */
export const loginLateMsMax = 30_000;
/** Fetches in a row without new mail after which an adaptive schedule takes its next step. */
export const quietFetchesPerStep = 3;

/** Due index, fetch queues and ticks: how many there are of each. Another number leaves behind what is in the old ones. */
export const mailboxShards = 8;
/** How long a mailbox that was claimed is not due again: what is lost when its tick dies before the job is added. */
export const claimMs = 60_000;
/** How often a worker looks for what is due in a shard, on average, where no other one just has; and how long that rests then. */
export const tickEveryMs = 500;
export const turnRestMs = 250;
/** How long a worker that dies in its turn keeps a shard from the others. */
export const turnMs = 5_000;
/** The pause of a shard's ticks after a fault of ours. */
export const tickFaultMs = 5_000;
/** Mailboxes that are claimed, and added to a queue, in one step. */
export const claimMailboxesMax = 250;
/** Jobs that wait in a queue beyond which no more are added: their mailboxes wait in the due index, for a sixth of the memory. */
export const queueJobsMax = 5_000;
/** How long the settings of a mailbox are tried. */
export const verificationMs = 25_000;
