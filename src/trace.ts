/**
 * Spans, for those who do what is traced: what they are told of says what is under way, by ids and codes alone. No address, no credential, no
 * word of any mail, and no name of anybody's host is in one. How they are kept is no business of theirs. This file imports nothing.
 */
export type Attributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanFacts {
  name: string;
  kind?: 'server' | 'client' | 'producer' | 'consumer';
  /** W3C traceparent of what has caused it, elsewhere; what is under way here unless given. What cannot be read does not count. */
  parent?: string | undefined;
  attributes?: Attributes;
}

export interface Trace {
  /** The work is what the span is of; what it throws fails the span. */
  span<T>(facts: SpanFacts, work: () => Promise<T>): Promise<T>;
  /** Says more of what is under way. An `error.type` makes it failed. */
  note(attributes: Attributes): void;
  /** W3C traceparent of what is under way; undefined where nothing is traced. */
  traceparent(): string | undefined;
}

export const untraced: Trace = {
  span: (_facts, work) => work(),
  note: () => undefined,
  traceparent: () => undefined,
};
