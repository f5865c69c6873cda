/** Every bound of the sandbox. The POP3 ones may be lowered per server, which is how the tests reach them. */

export interface Pop3Limits {
  /** A command line with its line end, RFC 2449 section 4. */
  readonly lineBytesMax: number;
  /** RFC 1939 section 3: an autologout timer is at least ten minutes. */
  readonly idleTimeoutMs: number;
  /** Sockets open at once; further ones are closed before the greeting. */
  readonly connectionsMax: number;
  /** Failed PASS commands before the server hangs up. */
  readonly authFailuresMax: number;
}

export const POP3_LIMITS: Pop3Limits = {
  lineBytesMax: 255,
  idleTimeoutMs: 600_000,
  connectionsMax: 64,
  authFailuresMax: 3,
};

export interface WebhookReceiverLimits {
  /** A larger body is answered 413 and not kept. */
  readonly bodyBytesMax: number;
  /** Webhooks kept in memory; further ones are answered 507 and not kept. */
  readonly keptMax: number;
}

export const WEBHOOK_RECEIVER_LIMITS: WebhookReceiverLimits = {
  bodyBytesMax: 32 * 1024 * 1024,
  keptMax: 1_000,
};
