/** What a delivery tells of itself in a trace, and its receiver of the trace. */
import type { EventRef } from '../event/event.ts';
import type { SpanFacts, Trace } from '../trace.ts';
import type { Answer } from './answer.ts';

/** @param webhookId null for the webhook of a fetch. */
export function deliverySpan(event: EventRef, webhookId: string | null): SpanFacts {
  return {
    name: 'webhook.deliver',
    kind: 'client',
    parent: event.traceparent,
    attributes: {
      'popbridge.tenant': event.tenant,
      'popbridge.event.id': event.id,
      'popbridge.event.type': event.type,
      ...(webhookId !== null && { 'popbridge.webhook.id': webhookId }),
    },
  };
}

/** https://www.w3.org/TR/trace-context/ */
export function traceHeaders(trace: Pick<Trace, 'traceparent'> | undefined): { traceparent?: string } {
  const traceparent = trace?.traceparent();
  return traceparent ? { traceparent } : {};
}

export function noteAnswer(trace: Pick<Trace, 'note'> | undefined, { status }: Pick<Answer, 'status'>): void {
  if (status === null) trace?.note({ 'error.type': 'no_answer' });
  else trace?.note({ 'http.response.status_code': status, ...(status >= 400 && { 'error.type': String(status) }) });
}
