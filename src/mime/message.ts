/** What a parsed message is. All of it survives JSON: no lone surrogates, no NUL, nothing unbounded. */

export interface Address {
  /** Display name; a claim of the sender like all of it. */
  readonly name: string | null;
  readonly address: string | null;
  /** The name of the RFC 5322 §3.4 group that it stands in. An empty group is one entry with a group alone. */
  readonly group: string | null;
}

export interface HeaderField {
  /** As written. */
  readonly name: string;
  /** Unfolded and decoded (RFC 2047). */
  readonly value: string;
}

export interface AttachmentInfo {
  /** `att_1`, `att_2`, ... in document order, `att_2.1` for a file in the winmail.dat `att_2`; openAttachment takes it. */
  readonly id: string;
  /** Where it stands among the parts, as IMAP numbers them (RFC 9051 §6.4.5.1): `2.1`, and `1` where it is the whole body. */
  readonly part: string;
  /** As the sender wrote it: may hold path separators and control characters, and never names a place to write to. */
  readonly filename: string | null;
  /** `type/subtype` in lower case, without parameters. */
  readonly contentType: string;
  /** What its first bytes look like, `type/subtype`; null where they have no known signature, as text has none. */
  readonly detectedContentType: string | null;
  readonly disposition: 'attachment' | 'inline' | null;
  /** Without angle brackets, as `cid:` URLs have it. */
  readonly contentId: string | null;
  /** Shown within the message rather than beside it. */
  readonly inline: boolean;
  /** Decoded bytes. */
  readonly size: number;
  /** Hex, of the decoded bytes. */
  readonly sha256: string;
}

/** In which charset a text part was read. */
export interface CharsetFacts {
  /** As `part` of an attachment. */
  readonly part: string;
  /** As written; null where none is. */
  readonly declared: string | null;
  readonly used: string;
  /** Characters that could not be read, each a U+FFFD. */
  readonly replaced: number;
}

/** Where the encoded bytes of an attachment stand in the raw message. */
export interface AttachmentSource {
  /** Bytes from the beginning of the message. */
  readonly offset: number;
  readonly length: number;
  readonly encoding: 'base64' | 'quoted-printable' | 'identity';
}

/** An attachment as it is kept. */
export interface StoredAttachment extends AttachmentInfo {
  /** Null where it is found by parsing the message again only. */
  readonly source: AttachmentSource | null;
}

/** What the header section implies. Nobody vouches for any of it. */
export interface Derived {
  /** ISO 8601 UTC: when the last server says that it took the mail (its Received field). */
  readonly receivedAt: string | null;
  /** The envelope's sender; null for a bounce, too. */
  readonly returnPath: string | null;
  readonly deliveredTo: string | null;
  readonly originalRecipient: string | null;
  /** The same for all messages of a thread, by its first message id. */
  readonly threadKey: string;
}

/** RFC 8601: what a server says that it checked. Not checked again. */
export interface AuthenticationResults {
  readonly server: string | null;
  /** As `{"method": "dkim", "result": "pass"}`, in lower case. */
  readonly methods: readonly { readonly method: string; readonly result: string }[];
  readonly isVerified: false;
}

/** RFC 3464. */
export interface DeliveryStatus {
  readonly reportingMta: string | null;
  readonly recipients: readonly {
    readonly recipient: string | null;
    readonly originalRecipient: string | null;
    /** `failed`, `delayed`, `delivered`, `relayed`, `expanded`. */
    readonly action: string | null;
    /** RFC 3463, as `5.1.1`. */
    readonly status: string | null;
    readonly diagnostic: string | null;
    readonly remoteMta: string | null;
  }[];
}

/** RFC 5965. */
export interface Feedback {
  /** `abuse`, `fraud`, `not-spam`, ... */
  readonly type: string | null;
  readonly userAgent: string | null;
  readonly originalRecipient: string | null;
  readonly sourceIp: string | null;
}

/** RFC 8098. */
export interface ReadReceipt {
  readonly recipient: string | null;
  readonly originalMessageId: string | null;
  /** `displayed`, `deleted`, ... */
  readonly disposition: string | null;
}

/** The sender's claims. */
export interface Classification {
  /** RFC 3834: an answer that no person wrote, or other mail that none did; null for a person's. */
  readonly autoReply: 'replied' | 'generated' | null;
  readonly bulk: boolean;
  readonly list: {
    readonly id: string | null;
    /** `https:` and `mailto:` links. */
    readonly unsubscribe: readonly string[];
    /** RFC 8058: a POST to the https link unsubscribes. */
    readonly oneClick: boolean;
  } | null;
  readonly deliveryStatus: DeliveryStatus | null;
  readonly feedback: Feedback | null;
  readonly readReceipt: ReadReceipt | null;
  /** RFC 5546, as `REQUEST`. */
  readonly calendarMethod: string | null;
  readonly security: 'smime-signed' | 'smime-encrypted' | 'pgp-signed' | 'pgp-encrypted' | null;
  /** Attachments came in a winmail.dat, and are listed beside it. */
  readonly tnef: boolean;
}

export type WarningCode =
  | 'headers_missing'
  | 'headers_malformed'
  | 'headers_truncated'
  | 'date_invalid'
  | 'addresses_truncated'
  | 'references_truncated'
  | 'boundary_missing'
  | 'boundary_unseen'
  | 'charset_unsupported'
  | 'encoding_unsupported'
  | 'text_truncated'
  | 'html_truncated'
  | 'html_not_converted'
  | 'attachments_truncated'
  | 'tnef_malformed'
  | 'parts_truncated'
  | 'parser_failed'
  | 'time_limit'
  | 'memory_limit'
  | 'crashed';

export interface ParseWarning {
  readonly code: WarningCode;
  readonly detail: string;
}

export interface ParsedMessage {
  /** Message ids keep their angle brackets (RFC 5322 §3.6.4). */
  readonly messageId: string;
  /** The message has none: this one is made from its header section, and the same whenever that is read. */
  readonly messageIdSynthesised: boolean;
  /** ISO 8601 UTC of the Date field; null where it is missing or no date. */
  readonly date: string | null;
  /** The Date field as written. */
  readonly rawDate: string | null;
  readonly subject: string | null;
  readonly from: readonly Address[];
  readonly sender: readonly Address[];
  readonly replyTo: readonly Address[];
  readonly to: readonly Address[];
  readonly cc: readonly Address[];
  readonly bcc: readonly Address[];
  readonly inReplyTo: string | null;
  readonly references: readonly string[];
  /** In the order of the message. */
  readonly headers: readonly HeaderField[];
  readonly derived: Derived;
  readonly authenticationResults: readonly AuthenticationResults[];
  readonly classification: Classification;
  /** The text parts; made from the HTML where there are none. */
  readonly text: string | null;
  /** As the mail has it: untrusted, not sanitised. */
  readonly html: string | null;
  /** Of each text part, in document order. */
  readonly charsets: readonly CharsetFacts[];
  /** The text without quotations and signature: empty where there is nothing else, null where there is no text. */
  readonly strippedReply: string | null;
  readonly strippedReplyTruncated: boolean;
  readonly textTruncated: boolean;
  readonly htmlTruncated: boolean;
  readonly attachments: readonly StoredAttachment[];
  /** The beginning of the text, white space folded. */
  readonly snippet: string;
  readonly parse: {
    /** `ok` has no warnings; `partial` has; `failed` has at most the headers. */
    readonly status: 'ok' | 'partial' | 'failed';
    /** One of each code at most. */
    readonly warnings: readonly ParseWarning[];
  };
}

/** Collects warnings, the first of each code. */
export type Warn = (code: WarningCode, detail: string) => void;
