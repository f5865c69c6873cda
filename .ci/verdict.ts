/** Reads what the test runner wrote: here nothing may have been skipped. */
import { readFileSync } from 'node:fs';

interface Results {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { assertionResults: { status: string; fullName: string }[] }[];
}

const results = JSON.parse(readFileSync('data/test-results.json', 'utf8')) as Results;
const skipped = results.testResults
  .flatMap(({ assertionResults }) => assertionResults)
  .filter(({ status }) => status !== 'passed' && status !== 'failed');
for (const { fullName } of skipped) console.error(`Skipped: ${fullName}`);
console.log(`${results.numPassedTests} passed, ${results.numFailedTests} failed, ${skipped.length} skipped`);
if (skipped.length > 0 || results.numFailedTests > 0 || results.numPassedTests === 0) process.exit(1);
