/** Every bound of the POP3 client. */

/** Octets of a command line, CRLF included. RFC 2449 §4 allows 255; long passwords are the server's to refuse. */
export const commandBytesMax = 1024;
/** Octets of a status line. RFC 2449 §4 allows 512; servers that greet at length are read all the same. */
export const statusLineBytesMax = 4096;
/** Blank lines that a server may send before it answers. */
export const blankLinesMax = 16;
/** Octets of one line of CAPA, LIST or UIDL. A unique-id has 70 at most (RFC 1939 §7); longer ones exist. */
export const listLineBytesMax = 2048;
/** Octets of one answer to CAPA, LIST or UIDL: a million unique-ids of full length fit. */
export const listingBytesMax = 100 * 1024 * 1024;
/** Lines of one CAPA answer. */
export const capabilitiesMax = 256;
/** Messages of one maildrop. */
export const maildropMessagesMax = 1_000_000;
/** Octets of a message that wait for a slow consumer before the socket is paused. */
export const bufferedBytesMax = 256 * 1024;
/** Octets: where the slices of a message that wait are smaller on average, they are joined. */
export const sliceBytesMin = 1024;
/**
 * Commands under way at once where the server allows pipelining, and the octets that their answers add up to. Over a round
 * trip of 40 ms, 1,000 small messages fit into one.
 */
export const pipelineCommandsMax = 1000;
export const pipelineBytesMax = 8 * 1024 * 1024;
/** After a server has broken off while several commands were under way, so many times fewer are tried. */
export const pipelineBackoff = 10;
/** Characters: shorter parts of a SASL response (`n`, `biws`) are no digests and no proofs. */
export const proofCharsMin = 8;
/** Characters of server text that an error quotes. */
export const serverTextCharsMax = 200;

/** A name may have hundreds; nobody waits for more than these. */
export const addressesMax = 16;
/** Octets of a host name: RFC 1035 §2.3.4, and all that SOCKS5 can carry. */
export const hostBytesMax = 255;
/** RFC 1929 §2 counts both in one octet. */
export const credentialBytesMax = 255;
/**
 * Milliseconds between two attempts (RFC 8305 §5). Unlike Node's autoSelectFamily, which gives an attempt up when it
 * begins the next, a far server has all the time of the connect deadline.
 */
export const connectStaggerMs = 250;
/** Characters of a name in a certificate: text of the server's, which is to be escaped wherever it is shown. */
export const certificateTextCharsMax = 1000;
/** Octets of one answer of a proxy; those of SOCKS have 262 at most (RFC 1928 §6). */
export const proxyAnswerBytesMax = 16 * 1024;
/** Characters: an OAuth token in place of the password fits. */
export const urlCharsMax = 16 * 1024;
/** Octets that are looked at. */
export const firstBytesMax = 200;

/** Milliseconds: the longest that a timer of Node can be. What is longer is no deadline. */
export const timerMsMax = 2 ** 31 - 1;

/** Milliseconds that each phase may take. RFC 1939 §3 lets a server wait ten minutes; a bridge does not. */
export interface Pop3Timeouts {
  resolveMs: number;
  connectMs: number;
  tlsMs: number;
  greetingMs: number;
  /** The whole login, however many steps and attempts it takes. */
  loginMs: number;
  /**
   * From a command to the end of the first line of its answer. Courier takes 5 s to refuse a password; large maildrops are
   * slow to open.
   */
  commandMs: number;
  /** Between two reads of a multi-line answer. */
  idleMs: number;
  quitMs: number;
  /** From the first to the last, whatever the session does, a slow consumer included. */
  sessionMs: number;
}

export const defaultTimeouts: Readonly<Pop3Timeouts> = {
  resolveMs: 10_000,
  connectMs: 15_000,
  tlsMs: 15_000,
  greetingMs: 30_000,
  loginMs: 120_000,
  commandMs: 60_000,
  idleMs: 60_000,
  quitMs: 10_000,
  sessionMs: 24 * 60 * 60 * 1000,
};
