/** Bounds of stored messages. */

/** How often the sweeper looks for messages past their retention, in milliseconds. */
export const sweepEveryMs = 10 * 60 * 1000;
/** How often all blobs are held against what they hold, in milliseconds: what a killed writer left is found then. */
export const auditEveryMs = 24 * 60 * 60 * 1000;
/** A blob, or a half-written one, that is older than this, in milliseconds, is in no living writer's hands. */
export const draftAgeMsMax = 24 * 60 * 60 * 1000;
/** Folders that a blob store remembers to be on disk: forgetting one costs two syncs. */
export const settledFoldersMax = 100_000;
/** Expired messages that are looked up at once. */
export const sweepPageMessages = 500;

/** Bytes of plain text that are compressed and sealed as one piece, and so read as one. */
export const pieceBytes = 64 * 1024;
/** A piece is kept compressed where that takes off this share of it at least. */
export const compressionGainMin = 1 / 16;
/** Messages up to this many bytes share a blob with others of their fetch; a larger one gets a blob of its own. */
export const packedBytesMax = 256 * 1024;
/** How long a tenant's data key stays in memory: as long as its mail may stay readable after the key was deleted. */
export const dataKeyCacheMs = 30_000;
export const dataKeysCachedMax = 10_000;

/** Slots of Redis Cluster that a tenant's index of messages, and the index of what expires, are spread over. */
export const indexShards = 16;
/** Records that one page of a filtered list reads at most: it then says where to go on. */
export const listScanMax = 2_000;
/** Records that are read at once. */
export const listChunk = 250;
/** Addresses of a kind that the record keeps; the content has all. */
export const recordAddressesMax = 10;
/** Characters of a subject, a name or an id that the record keeps. */
export const recordTextCharsMax = 512;
/** A message that expires within this time, in milliseconds, is stored anew where it is fetched again. */
export const expiryMarginMs = 60 * 60 * 1000;

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
