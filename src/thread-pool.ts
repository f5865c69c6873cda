/**
 * The size of Node's pool of threads, unless the environment has one: half of it is for look-ups of host names, and two of those
 * would be held by two names whose name server is silent. Node makes the pool when it is first used, so that main.ts imports this
 * before all else. Imports nothing.
 */
process.env['UV_THREADPOOL_SIZE'] ??= '32';
