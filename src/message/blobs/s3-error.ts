/**
 * What S3 refuses, as the error that a blob store throws. Of the server's own words only names are let through: a server
 * may repeat headers, and with them who has asked.
 */
import { AppError, toError } from '../../errors.ts';
import { blobStoreFailed } from './blob-error.ts';
import type { S3Place } from './s3-client.ts';

/** Node's names for what the network and TLS refuse. */
const UNREACHABLE =
  /^(?:ECONN|ENOTFOUND|EAI_AGAIN|EHOST|ENET|EPIPE|EPROTO|HPE_|CERT_|DEPTH_|UNABLE_|SELF_SIGNED|ERR_TLS|ERR_SSL)/;
const TIMED_OUT = new Set(['AbortError', 'ETIMEDOUT', 'RequestTimeout', 'TimeoutError']);
const REFUSED = new Set([
  'AccessDenied',
  'AllAccessDisabled',
  'ExpiredToken',
  'InvalidAccessKeyId',
  'InvalidToken',
  'RequestTimeTooSkewed',
  'SignatureDoesNotMatch',
]);
const WRONG_REGION = new Set([
  'AuthorizationHeaderMalformed',
  'PermanentRedirect',
  'IllegalLocationConstraintException',
]);
const RIGHTS = 's3:GetObject, PutObject, DeleteObject, AbortMultipartUpload, ListBucket and ListBucketMultipartUploads';

/** A server that knows who asks could say that in place of a name. */
const NAME_OF_S3 = /^[A-Z][A-Za-z]{1,40}$/;

/** @throws AppError `storage_failed` for whatever `work` throws; one that it has thrown itself stays as it is. */
export async function guardS3<T>(place: S3Place, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AppError) throw error;
    const answer = readS3Error(error);
    // What has no status is no answer of a server, but the words of Node and of the SDK.
    throw s3Failed(place, answer, answer.status === 0 ? toError(error).message.slice(0, 300) : undefined);
  }
}

export interface S3Answer {
  /** A bounded word, whoever has given it; of a server's, letters alone. */
  name: string;
  /** Of HTTP; 0 where there was no answer. */
  status: number;
}

export function readS3Error(thrown: unknown): S3Answer {
  const error = toError(thrown) as Error & { code?: unknown; $metadata?: { httpStatusCode?: number } };
  const status = error.$metadata?.httpStatusCode ?? 0;
  const given = status === 0 && typeof error.code === 'string' ? error.code : error.name;
  // The SDK calls unknown what was answered without a body, as a HEAD is.
  const isName = status === 0 ? /^[\w.-]{1,64}$/.test(given) : NAME_OF_S3.test(given) && !given.startsWith('Unknown');
  return { name: isName ? given : 'an error', status };
}

export function s3Failed(place: S3Place, { name, status }: S3Answer, reason?: string): AppError {
  return blobStoreFailed(adviseOn(place, name, status), new Error(reason ?? `S3 answered ${status} ${name}`));
}

function adviseOn({ bucket, endpoint }: S3Place, name: string, status: number): string {
  const where = endpoint === undefined ? 'S3' : `S3 at ${new URL(endpoint).host}`;
  if (name === 'NoSuchBucket') return `There is no bucket ${bucket} at ${where}: make it, or set POPBRIDGE_S3_BUCKET`;
  if (WRONG_REGION.has(name) || status === 301) {
    return `The bucket ${bucket} is in another region: set POPBRIDGE_S3_REGION`;
  }
  if (REFUSED.has(name) || status === 401 || status === 403) {
    return `${where} refused access to the bucket ${bucket} (${status} ${name}): are the credentials right, and do they allow ${RIGHTS}`;
  }
  if (name === 'CredentialsProviderError') {
    return 'There are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role';
  }
  if (TIMED_OUT.has(name)) return `${where} did not answer in time: try again later`;
  if (UNREACHABLE.test(name)) {
    return `${where} cannot be reached (${name}): are POPBRIDGE_S3_ENDPOINT and the network right`;
  }
  if (name === 'SlowDown' || status === 429 || status >= 500)
    return `${where} is overloaded or failing (${status} ${name})`;
  return `${where} answered ${status === 0 ? name : `${status} ${name}`}`;
}
