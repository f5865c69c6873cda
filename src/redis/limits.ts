/** Every bound of `src/redis`. Times are in milliseconds, sizes in bytes. */

/** Finding the server's binary, or unpacking it. */
export const binaryLimits = {
  /** `redis-server --version`, generous for a cold disk. */
  versionCheckTimeoutMs: 15_000,
  /** What `apt-get` may take to read its lists and resolve. */
  resolveTimeoutMs: 60_000,
  /** Package lists of a whole distribution, about 10 MB, and then the packages, about 2 MB. */
  downloadTimeoutMs: 180_000,
  unpackTimeoutMs: 60_000,
  /** Several processes may move their own into the same place at once. */
  moveAttemptsMax: 3,
  /** A single transfer of apt that stands still is given up after this many seconds (apt counts in seconds). */
  transferStallS: 20,
  /** A work folder this old belongs to nobody: all the bounds above together are less. */
  abandonedAfterMs: 3_600_000,
  toolOutputBytesMax: 4 * 1024 * 1024,
  /** How much of a failed tool's own words is quoted. */
  reasonCharsMax: 600,
} as const;

/** Running the server. */
export const serverLimits = {
  /** From spawn to the first PONG. Loading a large AOF is part of it. */
  readyTimeoutMs: 10 * 60_000,
  readyPollMs: 25,
  loadingNoticeEveryMs: 5_000,
  probeTimeoutMs: 2_000,
  /** From SIGTERM to SIGKILL: the AOF is flushed and synced meanwhile. */
  stopTimeoutMs: 15_000,
  /** A log larger than this is set aside at the next start; the one before it is dropped. */
  logBytesMax: 1024 * 1024,
  logTailBytesMax: 2_048,
  /** A unix socket's path, in bytes: 107 on Linux, 103 on macOS. */
  socketPathBytesMax: 103,
} as const;

/** How often a worker looks whether a newer program has changed the data beyond what it can read. */
export const dataLimits = { watchEveryMs: 5_000 } as const;

/** Taking a folder over from the server that still holds it. */
export const handoverLimits = {
  pollMs: 50,
  /** How long an orphaned server may take to end by itself before it is told to. */
  orphanGraceMs: 5_000,
  /** After this the start is refused. */
  timeoutMs: 20_000,
} as const;

/** Starting a server again that ended unexpectedly. */
export const restartLimits = {
  delayMsMin: 100,
  delayMsMax: 10_000,
  /** A server that ran this long was well: the next delay is the smallest again. */
  stableAfterMs: 60_000,
} as const;

/** Talking to the server, embedded or not. */
export const connectionLimits = {
  connectTimeoutMs: 5_000,
  /** A command without an answer for this long fails: a frozen Redis is a Redis that is away. */
  commandTimeoutMs: 5_000,
  /** A blocking connection on which something was asked is given up after as long without a word: more than BullMQ blocks (10 s). */
  silenceMs: 12_000,
  reconnectDelayMs: 250,
  /** How long a command of the command line waits for a Redis that has gone away: longer than a failover. */
  patienceMs: 60_000,
  /** How long the start waits for sentinels or a cluster to have a master. */
  startTimeoutMs: 15_000,
  /** How long the disk may take: WAITAOF, or a sync that is under way. Less than `commandTimeoutMs`, to tell a slow disk from a dead server. */
  durableTimeoutMs: 4_000,
  /** Two periods of `appendfsync everysec`: where WAITAOF is missing, what is older than this is on disk. */
  everysecTwiceMs: 2_000,
  syncPollMs: 100,
} as const;

/** A Redis Cluster. */
export const clusterLimits = {
  /** How often it is asked who its masters are, beside whenever it says so itself. */
  slotsRefreshMs: 5_000,
  /** Between one try of a command and the next while a master is away. */
  retryDelayMs: 100,
  /** Keys that are looked at to find one which a given master has: enough for one with a thousandth of the slots. */
  markKeysTried: 65_536,
} as const;

export const scanLimits = {
  /** How many keys Redis looks at in one call: about a millisecond, in which it serves nobody else. */
  keysPerCall: 1_000,
} as const;

export const queueLimits = {
  /** How often a queue is opened that cannot be used. */
  opensMax: 5,
  /** How long one that could not is given to close. */
  closeMs: 1_000,
} as const;

/** Sets of a `state-index.ts`, for each state. Another number leaves behind what is in the old ones. */
export const stateShards = 8;
