/** Binds the contract's operations to handlers, typed by the contract: a wrong field in an answer fails `tsc`. */
import type { Context, Hono } from 'hono';
import type { operations } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import type { Principal } from '../access/access.ts';
import { untraced, type Trace } from '../trace.ts';
import type { Operation, OperationId } from './contract.ts';
import { checkBodyType, readBytes, readJson } from './request-body.ts';

type PartOf<Id extends OperationId, Place extends 'path' | 'query'> = NonNullable<operations[Id]['parameters'][Place]>;

type BodyOf<Id extends OperationId> = operations[Id] extends {
  requestBody: { content: { 'application/json': infer Body } };
}
  ? Body
  : operations[Id] extends { requestBody: object }
    ? ByteBody
    : undefined;

/** A body that is no JSON, as it comes. @throws AppError `body_too_large`, `cancelled` where the caller goes away. */
type ByteBody = (bytesMax: number) => AsyncIterable<Uint8Array>;

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

/** Who may come in. Both throw AppError `unauthorized`. */
export interface Gate {
  authenticate(authorization: string | undefined): Principal;
  openLink(token: string, path: string): Principal;
}

/** What is known of a request while it is answered. */
export interface RequestFacts {
  Variables: {
    requestId: string;
    /** As the contract has it; unset where no path of the contract is meant. */
    route?: string;
    /** Of whoever asks; unset where nobody is known. */
    tenant?: string;
  };
}

export function bindRoutes(
  app: Hono<RequestFacts>,
  contract: readonly Operation[],
  handlers: Handlers,
  gate: Gate,
  trace: Trace = untraced,
): void {
  for (const operation of contract) {
    app.on(operation.method, toHonoPath(operation.path), async (context) => {
      context.set('route', operation.path);
      // Of health probes there are too many.
      if (operation.isPublic) return answer(operation, context);
      const route = operation.path;
      const facts = {
        name: `${operation.method} ${route}`,
        kind: 'server',
        parent: context.req.header('traceparent'),
        attributes: { 'http.route': route, 'popbridge.request.id': context.get('requestId') },
      } as const;
      return trace.span(facts, async () => {
        const response = await answer(operation, context);
        trace.note({ 'http.response.status_code': response.status });
        return response;
      });
    });
  }

  async function answer(operation: Operation, context: Context<RequestFacts>): Promise<Response> {
    // Which handler belongs to which operation is checked where `Handlers` is built; here the types are erased.
    const handle = handlers[operation.id] as unknown as ErasedHandler;
    const principal = identify(operation, context, gate);
    if (principal.tenant !== '') context.set('tenant', principal.tenant);
    const parts = {
      path: context.req.param() as Record<string, unknown>,
      query: readQuery(operation, context),
      header: context.req.header() as Record<string, unknown>,
      body: await openBody(operation, context),
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
  }

  for (const [path, allow] of methodsByPath(contract)) {
    app.all(toHonoPath(path), (context) => {
      const { req } = context;
      context.set('route', path);
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

/** A key counts before a link. What a link opens is this very path, and it comes to nothing where no link is taken. */
function identify({ isPublic, takesLink }: Operation, { req }: Context, gate: Gate): Principal {
  if (isPublic) return { tenant: '' };
  const authorization = req.header('authorization');
  const token = takesLink && authorization === undefined ? req.query('token') : undefined;
  return token === undefined ? gate.authenticate(authorization) : gate.openLink(token, req.path);
}

/** A parameter that is given twice stays a list, which hardly a schema takes: better refused than half of it ignored. */
function readQuery({ takesLink }: Operation, { req }: Context): Record<string, unknown> {
  const given = Object.entries(req.queries()).filter(([name]) => !(takesLink && name === 'token'));
  return Object.fromEntries(given.map(([name, values]) => [name, values.length === 1 ? values[0] : values]));
}

async function openBody({ bodyType }: Operation, { req }: Context): Promise<unknown> {
  if (bodyType === null) return undefined;
  checkBodyType(req.raw, bodyType);
  return bodyType === 'application/json' ? readJson(req.raw) : (bytesMax: number) => readBytes(req.raw, bytesMax);
}
