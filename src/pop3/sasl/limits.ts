/** Every bound of logging in. */

/** Octets of the AUTH command, CRLF included (RFC 5034 §4 holds it to RFC 2449 §4, the lines after it not). */
export const authLineBytesMax = 255;
/** Octets of a response in base64. Access tokens of 4 kB are common; RFC 4954 §4 gives 12,288 for the same exchange in SMTP. */
export const responseLineBytesMax = 16_384;
/** Octets of a line with a challenge. The longest that a mechanism here reads has some 300. */
export const challengeLineBytesMax = 4096;
/** Octets of the msg-id in a greeting. RFC 2449 §4 gives the whole line 512. */
export const apopChallengeBytesMax = 255;

/** SASL mechanisms that are read from one CAPA answer. */
export const offeredMechanismsMax = 32;
/** Attempts of one login that show the server credentials. Each may count towards a lock-out of the account. */
export const credentialAttemptsMax = 2;

/** Octets of randomness in SCRAM's nonce, and characters of the server's whole one. */
export const scramNonceBytes = 18;
export const scramNonceCharsMax = 512;
/**
 * PBKDF2 iterations that SCRAM's server may ask for. Fewer ease guessing from what was overheard (RFC 7677 §4 wants
 * 4,096); more keep a thread of this process busy: two million take it some 0.3 s, and OWASP's advice ends at 1.3 million.
 */
export const scramIterationsMin = 4096;
export const scramIterationsMax = 2_000_000;
/** Octets. */
export const scramSaltBytesMin = 8;
export const scramSaltBytesMax = 256;
