// What `helm test` runs: the API answers, is ready, and takes the operator key.
const { API_URL, API_KEY } = process.env;
const checks = [
  { path: '/readyz', says: 'is ready' },
  { path: '/v1/mailboxes?limit=1', says: 'takes the operator key', headers: { Authorization: `Bearer ${API_KEY}` } },
  { path: '/v1/mailboxes?limit=1', says: 'refuses whoever has none', status: 401 },
];
for (const { path, says, headers = {}, status = 200 } of checks) {
  const answer = await fetch(API_URL + path, { headers, signal: AbortSignal.timeout(10_000) });
  const body = await answer.text();
  if (answer.status !== status) {
    process.stderr.write(
      `popbridge does not do what is tested (${says}): ${path} answered ${answer.status}: ${body}\n`,
    );
    process.exit(1);
  }
  process.stdout.write(`popbridge ${says}\n`);
}
