/**
 * The S3 client: made and loaded when it is first used, as most installations never do. Whom it speaks for is found by the
 * default chain of the SDK: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a shared profile, a web identity, a role.
 */
import type * as S3Sdk from '@aws-sdk/client-s3';
import type { Upload } from '@aws-sdk/lib-storage';
import { s3Limits } from './limits.ts';
import { uploadTimeoutMs, type S3Timeouts } from './s3-waits.ts';

export interface S3Place {
  bucket: string;
  /** Of every key, without slashes at its ends. */
  prefix: string;
  /** URL of a server that is not Amazon's. */
  endpoint?: string | undefined;
  region: string;
  /** `endpoint/bucket/key` in place of `bucket.endpoint/key`. */
  pathStyle: boolean;
}

export interface S3 {
  client: S3Sdk.S3Client;
  /** The commands. */
  sdk: typeof S3Sdk;
  Upload: typeof Upload;
}

const silent = (): void => undefined;
/** What the SDK warns of, popbridge sees as errors; and its log is one of JSON lines. */
const SILENCE = { trace: silent, debug: silent, info: silent, warn: silent, error: silent };

export async function loadS3(place: S3Place, timeouts: S3Timeouts): Promise<S3> {
  const [sdk, { Upload }] = await Promise.all([import('@aws-sdk/client-s3'), import('@aws-sdk/lib-storage')]);
  const client = new sdk.S3Client({
    region: place.region,
    forcePathStyle: place.pathStyle,
    ...(place.endpoint === undefined ? {} : { endpoint: place.endpoint }),
    maxAttempts: s3Limits.attemptsMax,
    // Servers that are not Amazon's store the frames of a trailing checksum as part of the object.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    logger: SILENCE,
    requestHandler: {
      connectionTimeout: timeouts.connectTimeoutMs,
      requestTimeout: uploadTimeoutMs(s3Limits.partBytes, timeouts),
      throwOnRequestTimeout: true,
      // It would end downloads that are slow to be taken, too: s3-body.ts tells the two apart.
      socketTimeout: 0,
      logger: SILENCE,
      httpAgent: { keepAlive: true, maxSockets: s3Limits.socketsMax },
      httpsAgent: { keepAlive: true, maxSockets: s3Limits.socketsMax },
    },
  });
  return { client, sdk, Upload };
}
