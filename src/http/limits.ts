/** Every bound of the HTTP API. Times in milliseconds. */

/** Octets of a request body that is JSON. */
export const bodyBytesMax = 256 * 1024;
/** Octets beyond a body's bound which are read before it is refused; a longer one may lose the connection first. */
export const droppedBytesMax = 16 * 1024 * 1024;
/** Characters of text and HTML at which a page of messages is full. */
export const pageCharsMax = 4 * 1024 * 1024;
/** Seconds that `Prefer: wait` is granted at most. */
export const waitSecondsMax = 60;
/** Octets of all request headers. */
export const headerBytesMax = 32 * 1024;
/** Messages that are parsed for callers at once: each is up to `messageBytesMax` in memory. */
export const parsesAtOnceMax = 4;
/** Messages whose HTML is sanitised for callers at once, waiting for a thread among them. */
export const sanitizesAtOnceMax = 32;
/** Characters and UTF-8 octets of the name that a download has: what file systems take. */
export const downloadNameCharsMax = 200;
export const downloadNameBytesMax = 240;
/** Violations of the contract that one problem lists. */
export const violationsMax = 20;
/** How long a client may take to send its request, a message of 50 MiB to be parsed among them. */
export const requestTimeoutMs = 120_000;
export const headersTimeoutMs = 10_000;
export const keepAliveTimeoutMs = 65_000;
/** How often a server that closes looks for connections that have become idle. */
export const idleSweepMs = 100;
/** Seconds that a 503 asks to wait. */
export const retryAfterSeconds = 2;
/** Fetches that are followed at once, each of which reads its record twice a second; and how long nothing is said at most. */
export const streamsAtOnceMax = 500;
export const streamEveryMs = 500;
export const heartbeatMs = 15_000;
/** Settings of mailboxes that are tried at once, each of which holds a connection for some seconds. */
export const verificationsAtOnceMax = 10;
/** Addresses whose settings are looked for at once, each of which may take some DNS queries and two requests. */
export const autoconfigsAtOnceMax = 20;
/** Octets and lines of an import of mailboxes, and lines that are stored at once. */
export const importBytesMax = 64 * 1024 * 1024;
export const importLinesMax = 10_000;
export const importLinesAtOnce = 50;
/** Callers that wait for events at once, and streams of events: neither holds a connection to Redis. */
export const pollsAtOnceMax = 5_000;
export const eventStreamsAtOnceMax = 1_000;
