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
  /** `att_1`, `att_2`, ... in document order; openAttachment takes it. */
  readonly id: string;
  /** As the sender wrote it: may hold path separators and control characters, and never names a place to write to. */
  readonly filename: string | null;
  /** `type/subtype` in lower case, without parameters. */
  readonly contentType: string;
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
  readonly messageId: string | null;
  /** ISO 8601 UTC of the Date field; null where it is missing or no date. */
  readonly date: string | null;
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
  /** The text parts; made from the HTML where there are none. */
  readonly text: string | null;
  /** As the mail has it: untrusted, not sanitised. */
  readonly html: string | null;
  readonly textTruncated: boolean;
  readonly htmlTruncated: boolean;
  readonly attachments: readonly AttachmentInfo[];
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
