/** Bounds of stored messages. */

/** How often the sweeper looks for blobs past their retention, in milliseconds. */
export const sweepEveryMs = 60 * 60 * 1000;
/** A half-written blob that is older than this, in milliseconds, belongs to no living process. */
export const draftAgeMsMax = 24 * 60 * 60 * 1000;
/** Folders that a blob store remembers to be on disk: forgetting one costs two syncs. */
export const settledFoldersMax = 100_000;
