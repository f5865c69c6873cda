/** Every bound of the HTTP API. Times in milliseconds. */

/** Octets of a request body. */
export const bodyBytesMax = 256 * 1024;
/** Octets of a body that is too large which are read before it is refused; a longer one may lose the connection first. */
export const droppedBytesMax = 16 * 1024 * 1024;
/** Characters of text and HTML at which a page of messages is full. */
export const pageCharsMax = 4 * 1024 * 1024;
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
