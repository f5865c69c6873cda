/** A parsed message as others see it: with what can be made of it, and without what only the message store needs. */
import type { AttachmentInfo, HeaderField, ParsedMessage } from './message.ts';

export interface PublicMessage extends Omit<ParsedMessage, 'attachments'> {
  readonly attachments: readonly AttachmentInfo[];
  /** The values of `headers` by lower-case name, each in its order. */
  readonly headersByName: Readonly<Record<string, readonly string[]>>;
}

/** Made when a message is read, as it would double what is stored of the header section. */
export function toPublicMessage<T extends Pick<ParsedMessage, 'attachments' | 'headers'>>(
  message: T,
): Omit<T, 'attachments'> & Pick<PublicMessage, 'attachments' | 'headersByName'> {
  return {
    ...message,
    headersByName: indexHeaders(message.headers),
    attachments: message.attachments.map(({ source: _source, ...info }) => info),
  };
}

/** Any name is a key like others, `__proto__` too. */
function indexHeaders(headers: readonly HeaderField[]): PublicMessage['headersByName'] {
  const byName = Map.groupBy(headers, ({ name }) => name.toLowerCase());
  return Object.fromEntries(Array.from(byName, ([name, fields]) => [name, fields.map(({ value }) => value)]));
}
