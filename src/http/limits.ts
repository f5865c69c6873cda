/** Every bound of the HTTP API. Times in milliseconds. */

/** Octets of a request body. */
export const bodyBytesMax = 256 * 1024;
/** Seconds that `Prefer: wait` is granted at most. */
export const waitSecondsMax = 60;
/** Octets of all request headers. */
export const headerBytesMax = 32 * 1024;
/** Violations of the contract that one problem lists. */
export const violationsMax = 20;
/** How long a client may take to send its request. */
export const requestTimeoutMs = 30_000;
export const headersTimeoutMs = 10_000;
export const keepAliveTimeoutMs = 65_000;
/** Seconds that a 503 asks to wait. */
export const retryAfterSeconds = 2;
