/** Every bound of mail parsing. What lies beyond one is left out and a warning says so; the raw message has it all. */

/** Characters (UTF-16 units) of `text` and of `html`, each. */
export const textCharsMax = 1024 * 1024;
export const htmlCharsMax = 1024 * 1024;
/** Encoded bytes of text parts that are decoded, all together. MailParser needs up to 32 bytes of heap for each. */
export const textBytesMax = 4 * 1024 * 1024;
/** Characters of HTML that are turned into text where a message has no text of its own. */
export const htmlToTextCharsMax = 256 * 1024;
/** Levels of open HTML elements; the HTML parser's time grows with their square. Browsers flatten beyond 512. */
export const htmlDepthMax = 1000;
/** Characters of HTML that are sanitised, of one style's value in it, and milliseconds that this may keep a thread. */
export const sanitizeCharsMax = 1024 * 1024;
export const styleCharsMax = 200;
export const sanitizeTimeLimitMs = 10_000;
/** Characters of text in which a reply is looked for, and of a line that may introduce a quotation. */
export const replyCharsMax = 64 * 1024;
export const replyLineCharsMax = 300;
/** Bytes in which a charset is looked for: of HTML that names one, and of text that names none. */
export const metaBytesMax = 4096;
export const guessBytesMax = 16 * 1024;
/** Bytes beyond ASCII that a guess needs, and how sure it must be, in percent. */
export const guessBytesMin = 8;
export const guessConfidenceMin = 30;
/** Text parts of which the charset is told. */
export const charsetsMax = 100;
/** Characters of the snippet. */
export const snippetCharsMax = 200;

/** Header fields, and bytes of header section, that are listed. */
export const headerFieldsMax = 1000;
export const headerBytesMax = 256 * 1024;
/** Bytes of the header section of the message, or of one part, beyond which it is not parsed at all. */
export const headBytesMax = 1024 * 1024;
/** Bytes behind the header section in which a multipart's first charset is looked for. */
export const firstPartBytesMax = 4096;
/** Addresses of one kind (To, Cc, ...), and references. */
export const addressesMax = 1000;
export const referencesMax = 1000;

/** Parts of a message, multiparts among them, and how deep they nest. */
export const partsMax = 1000;
export const partDepthMax = 64;
/** Attachments that are listed. */
export const attachmentsMax = 500;
/** Characters of an attachment's file name, content type or content id. */
export const attachmentFieldCharsMax = 512;

/** Authentication-Results fields that are read, and methods of each. */
export const authenticationResultsMax = 20;
export const authenticationMethodsMax = 20;
/** Decoded bytes of an attachment that its type is told by. */
export const detectionBytesMax = 4100;

/** Attributes of a winmail.dat, and properties in them, that are read. */
export const tnefAttributesMax = 10_000;
export const tnefPropertiesMax = 100_000;

/** Links to unsubscribe by that are listed. */
export const unsubscribeLinksMax = 10;
/** Decoded bytes of a delivery status, receipt or complaint that is read, and recipients of one. */
export const reportBytesMax = 256 * 1024;
export const reportRecipientsMax = 100;

/** Bytes that are handed to the parser at once, so that what it decodes and splits in one go stays as small. */
export const chunkBytes = 64 * 1024;

/** Milliseconds that one message may keep a thread. */
export const threadTimeLimitMs = 30_000;
/** How long a thread that was started for want of one waits for more to do: starting one takes longer than most messages. */
export const threadIdleMs = 60_000;
/** MiB of JavaScript heap of one thread; buffers are outside of it. */
export const threadHeapMb = 256;

/** Bounds that who runs the parser may set. What lies beyond one is left out, and a warning says so. */
export interface ParseLimits {
  /** Header fields, and bytes of header section, that are listed. */
  readonly headerFields: number;
  readonly headerBytes: number;
  /** Addresses of one kind. */
  readonly addresses: number;
  /** Parts of a message, and how deep they nest. */
  readonly parts: number;
  readonly partDepth: number;
  /** Encoded bytes of text parts that are decoded, all together. */
  readonly textBytes: number;
}

export const parseLimits: ParseLimits = {
  headerFields: headerFieldsMax,
  headerBytes: headerBytesMax,
  addresses: addressesMax,
  parts: partsMax,
  partDepth: partDepthMax,
  textBytes: textBytesMax,
};
