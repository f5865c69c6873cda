/** Every bound of finding settings. Times in milliseconds. */

/** All of it: look-ups and documents, which are asked for at the same time. */
export const budgetMs = 10_000;
/** One DNS query, and how often it is sent. */
export const dnsTimeoutMs = 2_000;
export const dnsTries = 2;
/** Records of one answer that are looked at, after they were put in order. */
export const recordsMax = 10;
/** Octets, elements and nesting of a document. */
export const documentBytesMax = 64 * 1024;
export const elementsMax = 2_000;
export const depthMax = 16;
/** Servers of one document that are given out. */
export const serversMax = 10;
/** Characters of an address and of its local part (RFC 5321 §4.5.3.1). */
export const localPartCharsMax = 64;
/** What a user name may be, as the contract has it. */
export const usernameCharsMax = 200;
