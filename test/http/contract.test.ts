import { expect, it } from 'vitest';
import { absoluteRefs, compileOperations, createAjv, readContract } from '../../src/http/contract.ts';

type Schema = Record<string, unknown>;

const document = readContract();

/** Every place of a schema that is marked as a secret, by the names on the way; references are followed, circles are not. */
function secretsOf(schema: unknown, path: string, seen: readonly string[] = []): [path: string, schema: Schema][] {
  if (typeof schema !== 'object' || schema === null) return [];
  const { $ref, ...rest } = schema as Schema;
  const found: [string, Schema][] = 'x-secret' in rest ? [[path, rest]] : [];
  if (typeof $ref === 'string' && !seen.includes($ref)) {
    const target = $ref
      .slice(2)
      .split('/')
      .reduce<unknown>((at, step) => (at as Schema)[step], document);
    found.push(...secretsOf(target, path, [...seen, $ref]));
  }
  for (const [name, child] of Object.entries(rest)) {
    found.push(...secretsOf(child, name === 'properties' ? path : `${path}/${name}`, seen));
  }
  return found;
}

const OAUTH2_SECRETS = ['accessToken', 'clientSecret', 'refreshToken'];

/** By what they are, whichever of the grants they are in. */
const withoutBranches = (path: string): string => path.replace(/\/oneOf\/\d+/g, '');

it('the secrets of the contract are the password, what OAuth2 takes and the webhook secret, each write-only', () => {
  const secrets = secretsOf({ $ref: '#/components/schemas/FetchRequest' }, '');
  expect([...new Set(secrets.map(([path]) => withoutBranches(path)))].sort()).toEqual([
    ...OAUTH2_SECRETS.map((name) => `/source/oauth2/${name}`),
    '/source/password',
    '/webhook/secret',
  ]);
  for (const [, schema] of secrets) expect(schema).toMatchObject({ 'x-secret': true, writeOnly: true });
});

it('no request has a secret elsewhere, and what looks like one is marked as one', () => {
  const everywhere = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).flatMap(([method, operation]) =>
      secretsOf((operation as unknown as Schema)['requestBody'], `${method} ${path}`),
    ),
  );
  const places = everywhere.map(([place]) => withoutBranches(place.replace('content/application/json/schema/', '')));
  const ofSource = ['password', ...OAUTH2_SECRETS.map((name) => `oauth2/${name}`)];
  expect([...new Set(places)].sort()).toEqual(
    [
      ...ofSource.flatMap((name) => [
        `post /v1/fetches/source/${name}`,
        `post /v1/mailboxes/source/${name}`,
        `post /v1/mailboxes/verify/source/${name}`,
        `patch /v1/mailboxes/{mailboxId}/source/${name}`,
      ]),
      'post /v1/fetches/webhook/secret',
      'post /v1/webhooks/headers',
      'patch /v1/webhooks/{webhookId}/headers',
    ].sort(),
  );
  const named = Object.values(document.components.schemas).flatMap((schema) =>
    Object.entries((schema as { properties?: Record<string, Schema> }).properties ?? {}).filter(
      ([name]) =>
        /pass|secret|token|credential|private/i.test(name) && !['tokenEndpoint', 'secretsValidUntil'].includes(name),
    ),
  );
  const [shown, kept] = [true, false].map((isShown) =>
    named.filter(([, schema]) => 'x-shown-once' in schema === isShown),
  );
  // Of a webhook, when it is made and when it is given another.
  expect(shown).toMatchObject(Array.from({ length: 2 }, () => ['secret', { readOnly: true }]));
  expect(kept!.length).toBeGreaterThan(0);
  for (const [, schema] of kept!) {
    const [[, marked] = [null, {}]] = secretsOf(schema, '');
    expect(marked).toMatchObject({ 'x-secret': true, writeOnly: true });
  }
});

it('no response, no event and no parameter has a secret in it', () => {
  const { paths, components } = document;
  const { webhooks } = document as unknown as { webhooks: unknown };
  const responses = Object.values(paths).flatMap((item) =>
    Object.values(item).map((operation) => (operation as unknown as Schema)['responses']),
  );
  expect(secretsOf({ responses, webhooks, parameters: components.parameters }, '')).toEqual([]);
});

it('every operation but health and the contract itself asks for a key', () => {
  const open = compileOperations(document).filter(({ isPublic }) => isPublic);
  expect(open.map(({ id }) => id)).toEqual(['livez', 'startupz', 'readyz', 'getContract']);
});

it('the schemas of every operation compile, the first time that each is asked for', () => {
  for (const { id, validate } of compileOperations(document)) {
    try {
      validate({ path: {}, query: {}, header: {}, body: {} });
    } catch (error) {
      expect([id, error]).toEqual([id, expect.objectContaining({ code: 'invalid_request' })]);
    }
  }
});

it('every answer is described down to its last field, so that nothing slips into one unseen', () => {
  const { schemas } = document.components;
  const loose = Object.entries(schemas).filter(([, schema]) => {
    const { type, additionalProperties, unevaluatedProperties } = schema as Schema;
    return type === 'object' && additionalProperties !== false && unevaluatedProperties !== false;
  });
  // RFC 9457 §3.2: problem details may be extended. The others are parts of schemas that are closed.
  expect(loose.map(([name]) => name).sort()).toEqual(['EventEnvelope', 'ParsedFields', 'Problem', 'RecordFields']);
  const whole = Object.values(schemas).filter((schema) => 'allOf' in schema);
  const uses = (text: object | string): number =>
    JSON.stringify(text).match(/schemas\/(?:RecordFields|ParsedFields|EventEnvelope)"/g)?.length ?? 0;
  expect(uses(document)).toBe(uses(whole.map((schema) => (schema as Schema)['allOf'] as object)));
});

it('every field of a message, and no other, can be asked for by its name', () => {
  const { RecordFields, ParsedFields } = document.components.schemas as Record<string, { properties: object }>;
  const { items } = document.components.parameters['Fields']!.schema as { items: { enum: string[] } };
  const names = [RecordFields, ParsedFields].flatMap((schema) => Object.keys(schema!.properties));
  expect(items.enum.toSorted()).toEqual(names.toSorted());
});

it('a signed link stands in for the key where something is read of one message, and nowhere else', () => {
  const open = compileOperations(document).filter(({ takesLink }) => takesLink);
  expect(open.map(({ id, method }) => [id, method])).toEqual([
    ['getMessage', 'GET'],
    ['getMessageRaw', 'GET'],
    ['getAttachment', 'GET'],
  ]);
});

it('the documented examples and defaults keep to their own schemas', () => {
  const ajv = createAjv(document, false);
  for (const [name, schema] of Object.entries(document.components.schemas)) {
    const { examples = [] } = schema as { examples?: unknown[] };
    for (const example of examples) expect([name, ajv.validate(absoluteRefs(schema), example)]).toEqual([name, true]);
  }
});
