/**
 * Holds what the service says against `openapi/openapi.yaml`: status, content type, headers and body of every response, and
 * every webhook. The document and the Ajv set-up are the ones that validate requests at run time.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { ValidateFunction } from 'ajv/dist/2020.js';
import { absoluteRefs, createAjv, readContract } from '../../src/http/contract.ts';

export interface Exchange {
  readonly method: string;
  /** As it was sent, query and all. */
  readonly path: string;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
}

export interface ContractChecker {
  /** Throws an Error that names every departure from the contract. */
  checkResponse(exchange: Exchange): void;
  /** The same for an event, by the webhook of its type. */
  checkEvent(event: unknown): void;
  /** The same for a webhook that was received. */
  checkWebhook(webhook: { readonly headers: IncomingHttpHeaders; readonly body: Buffer }): void;
}

interface Header {
  required?: boolean;
  schema: object;
}

interface ResponseObject {
  headers?: Record<string, Header | Ref>;
  content?: Record<string, { schema: object }>;
}

interface Ref {
  $ref: string;
}

interface OperationObject {
  parameters?: ({ name: string; schema: object } | Ref)[];
  requestBody?: { content: Record<string, { schema: object }> };
  responses: Record<string, ResponseObject | Ref>;
}

interface Document {
  paths: Record<string, Record<string, OperationObject>>;
  webhooks: Record<string, { post: OperationObject }>;
}

/** What the server answers without an operation of the contract: no such path, or another method. */
const OUTSIDE_STATUSES = new Set([404, 405]);
const PROBLEM_TYPE = 'application/problem+json';

// Once for all services that a file starts: reading the document takes about as long as one of their starts.
const contract = readContract();
const document = contract as unknown as Document;
const ajv = createAjv(contract, false);
const compiled = new Map<object, ValidateFunction>();

export function createContractChecker(): ContractChecker {
  const paths = Object.keys(document.paths).map((template) => ({
    pattern: new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
    item: document.paths[template]!,
  }));

  function violations(schema: object, value: unknown): string[] {
    const validate = compiled.get(schema) ?? ajv.compile(absoluteRefs(schema));
    compiled.set(schema, validate);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(
      (error) => `${error.instancePath || '/'} ${error.message} ${json(error.params)}`,
    );
  }

  function resolve<T extends object>(value: T | Ref): T {
    if (!('$ref' in value)) return value;
    const steps = value.$ref.slice(2).split('/');
    return steps.reduce((at, step) => (at as Record<string, object>)[step]!, document as object) as T;
  }

  function checkHeaders(response: ResponseObject, headers: IncomingHttpHeaders): string[] {
    return Object.entries(response.headers ?? {}).flatMap(([name, ref]) => {
      const header = resolve(ref);
      const value = headers[name.toLowerCase()];
      if (value === undefined) return header.required ? [`header ${name} is missing`] : [];
      return violations(header.schema, value).map((text) => `header ${name}: ${text}`);
    });
  }

  function checkContent({ content }: ResponseObject, { method, headers, bytes }: Exchange): string[] {
    if (!content) return bytes.length === 0 ? [] : ['a body where the contract has none'];
    const type = headers['content-type']?.split(';')[0] ?? '';
    const media = content[type] ?? content['*/*'];
    if (!media) return [`content type "${type}", not ${Object.keys(content).join(' or ')}`];
    if (method === 'HEAD') return bytes.length === 0 ? [] : ['a body in answer to HEAD'];
    return type.endsWith('json') && content[type] ? violations(media.schema, parse(bytes)) : [];
  }

  function checkOutside({ method, status, headers, bytes }: Exchange): string[] {
    if (method === 'OPTIONS' && status === 204) return headers.allow ? [] : ['header Allow is missing'];
    if (!OUTSIDE_STATUSES.has(status)) return ['the contract has no such operation'];
    const wrong = status === 405 && !headers.allow ? ['header Allow is missing'] : [];
    if (headers['content-type'] !== PROBLEM_TYPE) return [...wrong, `content type "${headers['content-type']}"`];
    return method === 'HEAD' ? wrong : [...wrong, ...violations(PROBLEM, parse(bytes))];
  }

  function checkAsWebhook(event: unknown): { post: OperationObject; wrong: string[] } {
    const type = (event as { type?: string } | undefined)?.type ?? '';
    const post = document.webhooks[type]?.post;
    if (!post) throw new Error(`The contract has no webhook for "${type}"`);
    return { post, wrong: violations(post.requestBody!.content['application/json']!.schema, event) };
  }

  return {
    checkResponse(exchange) {
      const { method, path, status, headers, bytes } = exchange;
      const item = paths.find(({ pattern }) => pattern.test(path.split('?')[0]!))?.item;
      const operation = item?.[(method === 'HEAD' ? 'GET' : method).toLowerCase()];
      const found = operation?.responses[String(status)];
      const wrong: string[] = [];
      if (found) {
        const response = resolve(found);
        wrong.push(...checkHeaders(response, headers), ...checkContent(response, exchange));
      } else if (operation) wrong.push('the contract does not name this status for this operation');
      else wrong.push(...checkOutside(exchange));
      if (!headers['x-request-id']) wrong.push('header X-Request-Id is missing');
      complain(`${method} ${path} was answered ${status}`, wrong, bytes);
    },
    checkEvent(event) {
      complain('The event', checkAsWebhook(event).wrong, Buffer.from(json(event)));
    },
    checkWebhook({ headers, body }) {
      const { post, wrong } = checkAsWebhook(parse(body));
      for (const parameter of post.parameters ?? []) {
        const { name, schema } = resolve(parameter);
        wrong.push(...violations(schema, headers[name]).map((text) => `header ${name}: ${text}`));
      }
      if (headers['content-type'] !== 'application/json') wrong.push(`content type "${headers['content-type']}"`);
      complain('The webhook', wrong, body);
    },
  };
}

const PROBLEM = { $ref: '#/components/schemas/Problem' };

function complain(what: string, wrong: readonly string[], bytes: Buffer): void {
  if (wrong.length === 0) return;
  throw new Error(`${what} against the contract:\n  ${wrong.join('\n  ')}\n${bytes.toString('utf8', 0, 1000)}`);
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

function json(value: unknown): string {
  return JSON.stringify(value);
}
