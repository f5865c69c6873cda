/** Bounds of stored messages. */

/** How often the sweeper looks for messages past their retention, in milliseconds. */
export const sweepEveryMs = 10 * 60 * 1000;
/** How often all blobs are held against what they hold, in milliseconds: what a killed writer left is found then. */
export const auditEveryMs = 24 * 60 * 60 * 1000;
/** How long others leave an audit to the process that has begun it; one that has died has its place taken then. */
export const auditTakesMs = 60 * 60 * 1000;
/** A blob, or a half-written one, that is older than this, in milliseconds, is in no living writer's hands. */
export const draftAgeMsMax = 24 * 60 * 60 * 1000;
/**
 * How long, in milliseconds, a Redis has to know of the blobs before those are deleted that neither it nor a manifest knows of: by then
 * somebody has noticed that it is an empty one, and put a copy of the old one in its place.
 */
export const newRedisMs = 30 * 24 * 60 * 60 * 1000;
/** Blobs that are held against Redis at once. */
export const blobsAtOnce = 16;
/** Blobs that an audit remembers, as needed or not; some 100 bytes each. */
export const blobsRememberedMax = 100_000;
/** Expired messages that are looked up at once. */
export const sweepPageMessages = 500;

/** Bytes at the end of a blob that are read for its manifest: of most packs all of it. */
export const manifestTailBytes = 64 * 1024;
/** A longer manifest is none of ours: a batch has far fewer messages. */
export const manifestBytesMax = 64 * 1024 * 1024;

/** Bytes of plain text that are compressed and sealed as one piece, and so read as one. */
export const pieceBytes = 64 * 1024;
/** Bytes of a piece that is deflated; a larger one is compressed by zstd. */
export const deflatedBytesMax = 16 * 1024;
/** A piece is kept compressed where that takes off this share of it at least. */
export const compressionGainMin = 1 / 16;
/** Messages up to this many bytes share a blob with others of their fetch; a larger one gets a blob of its own. */
export const packedBytesMax = 256 * 1024;
/** Messages up to this many bytes stay in memory for the parser; a larger one is read back for it. */
export const heldBytesMax = 4 * 1024 * 1024;
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
/** Attachments whose ids the record keeps; the content has all. */
export const recordAttachmentsMax = 10;
/** Characters of a subject, a name or an id that the record keeps. */
export const recordTextCharsMax = 512;
/** Characters of the snippet that the record keeps. */
export const recordSnippetCharsMax = 90;
/** A message that expires within this time, in milliseconds, is stored anew where it is fetched again. */
export const expiryMarginMs = 60 * 60 * 1000;
