/** Every bound of events. Times in milliseconds. */

/** Characters of text, and of HTML, that an event carries. */
export const bodyCharsMax = 64 * 1024;
/** Of attachments whose bytes an event carries, all together, decoded. */
export const inlineBytesMax = 1024 * 1024;
/** For how long the links of an event open what they lead to. */
export const linkSeconds = 24 * 60 * 60;
/** Events whose ids are known, so that one that happens again is not appended again; twice as many for a while. */
export const recentMax = 5_000;
export const recentMs = 60 * 60 * 1000;
/** Events that are appended in one step: Redis does nothing else meanwhile. */
export const appendsMax = 500;
/** Events of one announcement that are handed on at once: each may go to every webhook of its tenant. */
export const handedOnMax = 50;
/** How often the bytes of a log are looked at, in events; and the part of the bound that is left when it is exceeded. */
export const bytesCheckEvery = 64;
export const bytesLeftShare = 0.9;
/** Mailboxes whose events are looked at as often, whether their count can go: more than can have come meanwhile. */
export const leavingCheckedMax = 1_000;
/** Entries that are read from Redis at once. */
export const readEntriesMax = 200;
/** Entries that are looked at for one page, most of which a filter may not want. */
export const scanEntriesMax = 10_000;
/** Who waits for events looks for them so often even where Redis says nothing. */
export const recheckMs = 15_000;
/** Consumers of a tenant that are known by name. */
export const consumersMax = 100;
