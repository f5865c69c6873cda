/** What the owner of a mailbox should know of its server, though its fetches succeed. */

/** Times are ISO 8601. */
export interface MailboxWarning {
  code: 'unique_ids_changed' | 'unique_ids_reused' | 'mail_expires';
  since: string;
  /** When it was last seen. */
  at: string;
}

const DETAILS: Readonly<Record<MailboxWarning['code'], string>> = {
  unique_ids_changed:
    'The server has given messages that are known new unique-ids. They are known by their bytes: they are stored as ' +
    'duplicates and not announced again. Was the maildrop restored or moved?',
  unique_ids_reused:
    'The server has given the unique-id of a message that is known to another one. Both are stored. One of the same size ' +
    'could not be told from the first by its listing, and would not be retrieved.',
  mail_expires:
    'The server deletes mail by itself (EXPIRE), whatever the policy of this mailbox. It is fetched often enough that none ' +
    'is missed while the server can be reached.',
};

export function describeWarning(warning: MailboxWarning): MailboxWarning & { detail: string } {
  return { ...warning, detail: DETAILS[warning.code] };
}
