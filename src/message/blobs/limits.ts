/** Bounds of the blob stores. */

/** Folders that a blob store remembers to be on disk: forgetting one costs two syncs. */
export const settledFoldersMax = 100_000;

/** Characters of a blob's id: the last of them spread blobs over folders; and few enough for a file name. */
export const blobNameCharsMin = 5;
export const blobNameCharsMax = 128;

/** The file store. */
export const fileLimits = {
  /** What is written at once; a chunk of the source may be a few bytes. */
  pieceBytes: 256 * 1024,
  /** Redis' append-only file is on the same disk by default, and must go on when mail no longer can. */
  freeBytesMin: 64 * 1024 * 1024,
  /** How much of a blob is written before the free space is looked at again. Many may be written at once. */
  freeCheckEveryBytes: 1024 * 1024,
  /** Entries of a folder that are held at once while all blobs are listed. */
  entriesAtOnce: 256,
} as const;

/** The S3 store. Times are in milliseconds. */
export const s3Limits = {
  /** A blob up to this size is one request; a larger one comes in parts of this size, the smallest that S3 takes. */
  partBytes: 5 * 1024 * 1024,
  /** What is kept of a blob until it is known to be larger than that. */
  pieceBytes: 256 * 1024,
  /** Parts of one blob that are under way at once, each in memory. */
  partsAtOnce: 1,
  /** With `attemptsMax`: an S3 that cannot be reached is known to be so within 10 seconds. */
  connectTimeoutMs: 2_500,
  attemptsMax: 3,
  /** What the SDK waits between two of them, about. */
  pauseMsMax: 1_000,
  /** From the request to the head of its answer, beside the time that its body takes. */
  answerTimeoutMs: 6_000,
  /** A slower upload than this (1 Mbit/s) is given up. */
  uploadBytesPerMsMin: 128,
  /** A body that sends nothing for this long, while somebody waits for it, is given up. */
  stallTimeoutMs: 20_000,
  /** Connections at once, as many as there can be fetches; who waits for one counts as not answered. */
  socketsMax: 1_000,
  listPageMax: 1_000,
} as const;

/** The Redis store. */
export const redisBlobLimits = {
  /** One command's worth. A blob up to this size takes up no more memory than it is long. */
  writePieceBytes: 2 * 1024 * 1024,
  readPieceBytes: 256 * 1024,
  /** More than the largest message by default, as one that does not fit is tried again in vain. */
  blobBytesMax: 64 * 1024 * 1024,
  /** A half-written blob that has not grown for this long, in milliseconds, gives way where there is no room left. */
  draftIdleMsMax: 10 * 60 * 1000,
  listPageMax: 500,
} as const;
