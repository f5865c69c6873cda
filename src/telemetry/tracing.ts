/** Traces, sent by OTLP over HTTP. Without an endpoint there are none, and nothing of OpenTelemetry's SDK is loaded. */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  isSpanContextValid,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace as api,
  TraceFlags,
  type Context,
  type Span,
} from '@opentelemetry/api';
import type { Attributes, Trace } from '../trace.ts';
import { untraced } from '../trace.ts';

export interface Tracing {
  trace: Trace;
  /** Sends what is left. */
  close(): Promise<void>;
}

export interface TracingOptions {
  /** Undefined: there are no traces. */
  endpoint: string | undefined;
  /** Of those that begin here, the share that is kept, 0 to 1. Of others, whoever began them says. */
  ratio: number;
}

const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const;

export async function startTracing({ endpoint, ratio }: TracingOptions): Promise<Tracing> {
  if (endpoint === undefined) return { trace: untraced, close: async () => undefined };
  const [sdk, { OTLPTraceExporter }, resources] = await Promise.all([
    import('@opentelemetry/sdk-trace'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ]);
  const detected = resources.detectResources({
    detectors: [resources.resourceAttributesEnvDetector, resources.serviceNameEnvDetector],
  });
  const provider = new sdk.TracerProvider({
    resource: resources.resourceFromAttributes({ 'service.name': 'popbridge' }).merge(detected),
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(ratio) }),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url: `${endpoint}/v1/traces` }) })],
  });
  const tracer = provider.getTracer('popbridge');
  const underWay = new AsyncLocalStorage<Context>();
  const currentSpan = (): Span | undefined => api.getSpan(underWay.getStore() ?? ROOT_CONTEXT);

  return {
    trace: {
      async span({ name, kind, parent, attributes = {} }, work) {
        const context = readParent(parent) ?? underWay.getStore() ?? ROOT_CONTEXT;
        const options = { attributes: { ...attributes }, kind: kind ? KINDS[kind] : SpanKind.INTERNAL };
        const span = tracer.startSpan(name, options, context);
        try {
          return await underWay.run(api.setSpan(context, span), work);
        } catch (error) {
          noteOn(span, { 'error.type': typeOf(error) });
          throw error;
        } finally {
          span.end();
        }
      },
      note(attributes) {
        const span = currentSpan();
        if (span) noteOn(span, attributes);
      },
      traceparent() {
        const context = currentSpan()?.spanContext();
        if (!context || !isSpanContextValid(context)) return undefined;
        const flags = context.traceFlags.toString(16).padStart(2, '0');
        return `00-${context.traceId}-${context.spanId}-${flags}`;
      },
    },
    close: () => provider.shutdown(),
  };
}

function noteOn(span: Span, attributes: Attributes): void {
  span.setAttributes({ ...attributes });
  if ('error.type' in attributes) span.setStatus({ code: SpanStatusCode.ERROR });
}

/** The text of an error may quote anybody: its code, or its class, does not. */
function typeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

/** https://www.w3.org/TR/trace-context/#traceparent-header */
function readParent(traceparent: string | undefined): Context | null {
  const [, traceId = '', spanId = '', flags = ''] = TRACEPARENT.exec(traceparent ?? '') ?? [];
  const context = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED, isRemote: true };
  return isSpanContextValid(context) ? api.setSpanContext(ROOT_CONTEXT, context) : null;
}
