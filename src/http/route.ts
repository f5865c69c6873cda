/** Binds the contract's operations to handlers, typed by the contract: a wrong field in an answer fails `tsc`. */
import type { Context, Hono } from 'hono';
import type { operations } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import type { Principal } from '../access/access.ts';
import type { Operation, OperationId } from './contract.ts';
import { bodyBytesMax, droppedBytesMax } from './limits.ts';

type PartOf<Id extends OperationId, Place extends 'path' | 'query'> = NonNullable<operations[Id]['parameters'][Place]>;

type BodyOf<Id extends OperationId> = operations[Id] extends {
  requestBody: { content: { 'application/json': infer Body } };
}
  ? Body
  : undefined;

/** Every status of the operation that has a JSON body, with that body. */
type JsonReply<Id extends OperationId> = {
  [Status in keyof operations[Id]['responses']]: operations[Id]['responses'][Status] extends {
    content: { 'application/json': infer Body };
  }
    ? { status: Status; body: Body; headers?: Record<string, string> }
    : never;
}[keyof operations[Id]['responses']];

export interface Call<Id extends OperationId> {
  /** HEAD where a GET is asked for without its body. */
  method: string;
  path: PartOf<Id, 'path'>;
  query: PartOf<Id, 'query'>;
  /** Lower-case names. */
  header: Readonly<Record<string, string>>;
  body: BodyOf<Id>;
  principal: Principal;
  /** Aborted when the caller has gone. */
  signal: AbortSignal;
}

export type Handler<Id extends OperationId> = (call: Call<Id>) => Promise<JsonReply<Id> | Response>;

export type Handlers = { [Id in OperationId]: Handler<Id> };

type ErasedHandler = (
  call: object,
) => Promise<{ status: number; body: unknown; headers?: Record<string, string> } | Response>;

export function bindRoutes(
  app: Hono,
  contract: readonly Operation[],
  handlers: Handlers,
  authenticate: (authorization: string | undefined) => Principal,
): void {
  for (const operation of contract) {
    // Which handler belongs to which operation is checked where `Handlers` is built; here the types are erased.
    const handle = handlers[operation.id] as unknown as ErasedHandler;
    app.on(operation.method, toHonoPath(operation.path), async (context) => {
      const principal = operation.isPublic ? { tenant: '' } : authenticate(context.req.header('authorization'));
      const parts = {
        path: context.req.param() as Record<string, unknown>,
        query: readQuery(context),
        header: context.req.header() as Record<string, unknown>,
        body: operation.hasBody ? await readJson(context) : undefined,
      };
      operation.validate(parts);
      const reply = await handle({
        ...parts,
        method: context.req.raw.method,
        principal,
        signal: context.req.raw.signal,
      });
      if (reply instanceof Response) return reply;
      return new Response(JSON.stringify(reply.body), {
        status: reply.status,
        headers: { 'content-type': 'application/json', ...reply.headers },
      });
    });
  }
  for (const [path, allow] of methodsByPath(contract)) {
    app.all(toHonoPath(path), ({ req }) => {
      if (req.method === 'OPTIONS') return new Response(null, { status: 204, headers: { allow } });
      throw new AppError('method_not_allowed', `Only ${allow} is known here.`, { fields: { allow } });
    });
  }
}

/** The value of `Allow` for each path: where there is GET there is HEAD, and OPTIONS is everywhere (RFC 9110 §9.3). */
function methodsByPath(contract: readonly Operation[]): Map<string, string> {
  const byPath = Map.groupBy(contract, ({ path }) => path);
  return new Map(
    [...byPath].map(([path, operations]) => {
      const methods = operations.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]));
      return [path, [...methods, 'OPTIONS'].join(', ')];
    }),
  );
}

function toHonoPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1');
}

/** A parameter that is given twice stays a list, which no schema takes: better refused than half of it ignored. */
function readQuery({ req }: Context): Record<string, unknown> {
  const given = Object.entries(req.queries());
  return Object.fromEntries(given.map(([name, values]) => [name, values.length === 1 ? values[0] : values]));
}

async function readJson({ req }: Context): Promise<unknown> {
  const type = req.header('content-type')?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json') {
    throw new AppError('unsupported_media_type', 'The body must be sent as "Content-Type: application/json".');
  }
  const bytes = await readBounded(req.raw);
  try {
    // Fatal: a password in another encoding must not be taken for one with replacement characters in it.
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch {
    const detail = bytes.length === 0 ? 'The body is empty.' : 'The body is not well-formed JSON in UTF-8.';
    throw new AppError('invalid_json', detail);
  }
}

/** A body over the limit is read on, and dropped: a caller who is still sending does not read why it is refused. */
async function readBounded(request: Request): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Cancelling the body would take the connection down before the answer is out.
  for await (const chunk of request.body?.values({ preventCancel: true }) ?? []) {
    bytes += chunk.length;
    if (bytes <= bodyBytesMax) chunks.push(chunk);
    else if (bytes > droppedBytesMax) break;
  }
  if (bytes > bodyBytesMax) {
    throw new AppError('body_too_large', `The body is over the limit of ${bodyBytesMax} bytes.`);
  }
  return Buffer.concat(chunks);
}
