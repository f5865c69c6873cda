/** What an owner may say of a mailbox: which mail is fetched, and which is deleted upstream. */

/**
 * When a message may be deleted upstream, once it is durable here: never; as soon as it is; once it is acknowledged; some days after it
 * came; or when so many newer ones are in the maildrop.
 */
export type DeletePolicy = 'never' | 'stored' | 'acknowledged' | { afterDays: number } | { keepLast: number };

/** What is fetched of the mail that a maildrop holds when it is fetched for the first time. */
export type FirstFetch = 'all' | 'new_only' | { last: number };

/** Which mail is wanted; all that is said must hold. What is not wanted stays on the server. */
export interface MessageFilter {
  /** What is larger is not wanted. */
  bytesMax?: number;
  headers?: readonly HeaderCondition[];
}

/** Holds where a field of that name has one of `contains` in it, and none has one of `excludes`; letter case aside. */
export interface HeaderCondition {
  name: string;
  contains?: readonly string[];
  excludes?: readonly string[];
}

/** Where one fetch stops. */
export interface FetchLimits {
  messages: number;
  bytes: number;
  messageBytes: number;
  seconds: number;
}

/** When a mailbox is fetched by itself. Durations are a number and `s`, `m`, `h` or `d`. */
export type ScheduleSettings =
  | {
      every: string;
      /** Quiet mailboxes are fetched less often, down to this. */
      adaptive?: { everyMax: string } | null;
    }
  | {
      /** Five fields: minute, hour, day of the month, month, day of the week. */
      cron: string;
      /** Of the IANA database; UTC unless given. */
      timeZone?: string;
    };
