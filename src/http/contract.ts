/**
 * The contract at run time: `openapi/openapi.yaml` validates every request. What an operation takes is compiled when it is first
 * asked for, as all of it takes longer than the rest of a start. The tests hold every response against the same document.
 */
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import { load } from 'js-yaml';
import { readFileSync } from 'node:fs';
import type { operations } from '../contract.gen.ts';
import { AppError } from '../errors.ts';
import { violationsMax } from './limits.ts';

/** Those of webhooks are sent, and not served. */
export type OperationId = Exclude<keyof operations, `on${string}`>;

export interface Violation {
  in: 'body' | 'path' | 'query' | 'header';
  /** JSON Pointer into that part of the request. */
  pointer: string;
  detail: string;
}

export interface Operation {
  id: OperationId;
  method: string;
  /** As in the contract: `/v1/fetches/{fetchId}`. */
  path: string;
  isPublic: boolean;
  /** Whether a signed link may stand in for the key. */
  takesLink: boolean;
  /** The media type of the body, where it has one. */
  bodyType: string | null;
  /** @throws AppError `invalid_request` with every violation under `errors`. Fills in defaults and converts numbers in place. */
  validate(request: RequestParts): void;
}

export interface RequestParts {
  path: Record<string, unknown>;
  query: Record<string, unknown>;
  header: Record<string, unknown>;
  body: unknown;
}

interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required?: boolean;
  /** Of a list in the query: false for `a,b,c`, which is the only form here. */
  explode?: boolean;
  schema: object;
}

interface OperationObject {
  operationId: OperationId;
  parameters?: (Parameter | { $ref: string })[];
  requestBody?: { content: Record<string, { schema: object }> };
  security?: object[];
}

export interface ContractDocument {
  paths: Record<string, Record<string, OperationObject> & { parameters?: (Parameter | { $ref: string })[] }>;
  components: { parameters: Record<string, Parameter>; schemas: Record<string, object> };
}

const METHODS = ['get', 'put', 'post', 'delete', 'patch'];
const DOCUMENT_ID = 'contract';

export function readContract(): ContractDocument {
  return load(readFileSync(new URL('../../openapi/openapi.yaml', import.meta.url), 'utf8')) as ContractDocument;
}

export function compileOperations(document: ContractDocument): Operation[] {
  // Parameters arrive as text and are converted; a body must have the right types by itself.
  const forBodies = lazily(() => createAjv(document, false));
  const forParameters = lazily(() => createAjv(document, true));
  return Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      if (!operation) return [];
      const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((parameter) =>
        resolveParameter(document, parameter),
      );
      const [bodyType = null] = Object.keys(operation.requestBody?.content ?? {});
      const body = operation.requestBody?.content['application/json']?.schema;
      const lists = parameters.filter(({ explode }) => explode === false).map(({ name }) => name);
      const compiled = lazily(() => ({
        validators: (['path', 'query', 'header'] as const).map(
          (place) => [place, forParameters().compile(parametersSchema(parameters, place))] as const,
        ),
        validateBody: body && forBodies().compile(absoluteRefs(body)),
      }));
      return [
        {
          id: operation.operationId,
          method: method.toUpperCase(),
          path,
          isPublic: operation.security?.length === 0,
          takesLink: operation.security?.some((scheme) => 'signedLink' in scheme) ?? false,
          bodyType,
          validate(request: RequestParts) {
            const { validators, validateBody } = compiled();
            splitLists(request.query, lists);
            const violations = validators.flatMap(([place, validate]) => check(place, validate, request[place]));
            if (validateBody) violations.push(...check('body', validateBody, request.body));
            if (violations.length > 0) throw invalidRequest(violations);
          },
        },
      ];
    }),
  );
}

/** A check of values against a schema of the contract. It @throws AppError `invalid_request`, and fills in defaults in place. */
export function compileSchema(document: ContractDocument, name: string): (value: unknown) => void {
  const compiled = lazily(() =>
    createAjv(document, false).compile({ $ref: `${DOCUMENT_ID}#/components/schemas/${name}` }),
  );
  return (value) => {
    const violations = check('body', compiled(), value);
    if (violations.length > 0) throw invalidRequest(violations);
  };
}

/** Made at the first call. */
function lazily<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

export function createAjv(document: ContractDocument, coerceTypes: boolean): Ajv2020 {
  const ajv = new Ajv2020({ allErrors: true, coerceTypes, useDefaults: true, strict: false, discriminator: true });
  // The package is CommonJS, and its default export is typed as if it were not.
  const addFormats = addFormatsModule as unknown as (target: Ajv2020) => void;
  addFormats(ajv);
  ajv.addSchema(withoutMappings(document), DOCUMENT_ID);
  return ajv;
}

/** ajv finds the branch of a `oneOf` by what the branches say themselves, and takes no `mapping` beside that. */
function withoutMappings(document: ContractDocument): object {
  const strip = (key: string, value: unknown): unknown =>
    key === 'discriminator' ? { propertyName: (value as { propertyName: string }).propertyName } : value;
  return JSON.parse(JSON.stringify(document, strip)) as object;
}

/** `#/components/...` points into the contract, from wherever it stands. */
export function absoluteRefs(schema: object): object {
  return JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', `"$ref":"${DOCUMENT_ID}#/`)) as object;
}

function resolveParameter(document: ContractDocument, parameter: Parameter | { $ref: string }): Parameter {
  if (!('$ref' in parameter)) return parameter;
  const found = document.components.parameters[parameter.$ref.split('/').at(-1) ?? ''];
  if (!found) throw new Error(`The contract has no ${parameter.$ref}`);
  return found;
}

function splitLists(query: Record<string, unknown>, names: readonly string[]): void {
  for (const name of names) {
    const written = query[name];
    if (typeof written === 'string') query[name] = written.split(',');
  }
}

/** Header names are compared in lower case (RFC 9110 §5.1); other headers pass, other query parameters do not. */
function parametersSchema(parameters: readonly Parameter[], place: Parameter['in']): object {
  const here = parameters.filter((parameter) => parameter.in === place);
  const nameOf = ({ name }: Parameter): string => (place === 'header' ? name.toLowerCase() : name);
  return {
    type: 'object',
    additionalProperties: place === 'header',
    required: here.filter(({ required }) => required).map(nameOf),
    properties: Object.fromEntries(here.map((parameter) => [nameOf(parameter), absoluteRefs(parameter.schema)])),
  };
}

function check(place: Violation['in'], validate: ValidateFunction, value: unknown): Violation[] {
  return validate(value) ? [] : (validate.errors ?? []).map((error) => toViolation(place, error));
}

/** Says what is wrong, and never repeats the value: it may be a secret. */
function toViolation(place: Violation['in'], error: ErrorObject): Violation {
  const { missingProperty, additionalProperty, allowedValues } = error.params as Record<string, unknown>;
  const property = missingProperty ?? additionalProperty;
  const pointer = error.instancePath + (typeof property === 'string' ? `/${escapePointer(property)}` : '');
  if (additionalProperty !== undefined) return { in: place, pointer, detail: 'is not known here' };
  if (missingProperty !== undefined) return { in: place, pointer, detail: 'is missing' };
  const allowed = Array.isArray(allowedValues) ? `: ${allowedValues.join(', ')}` : '';
  return { in: place, pointer, detail: `${error.message ?? 'is wrong'}${allowed}` };
}

function escapePointer(name: string): string {
  return name.slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1');
}

/** What is wrong beyond what a schema can say is told in the same form. */
export function invalidRequest(violations: readonly Violation[]): AppError {
  const [first] = violations;
  const where = first ? `${first.in}${first.pointer} ${first.detail}` : 'it breaks the contract';
  const more = violations.length > 1 ? `, and ${violations.length - 1} more` : '';
  return new AppError('invalid_request', `The request is not valid: ${where}${more}.`, {
    fields: { errors: violations.slice(0, violationsMax) },
  });
}
