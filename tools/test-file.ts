import { writeSync } from 'node:fs';
import { run } from 'node:test';
import { inspect } from 'node:util';

/**
 * Runs one test file in this process and reports on file descriptor 3, one JSON record a line, written as
 * it happens, so that nothing is lost when the file crashes or is killed. `end` is the last record of a file
 * whose tests all came to an end; a file that exits in the middle of them never writes it.
 */
export type TestRecord =
  | { readonly kind: 'running'; readonly name: string }
  | { readonly kind: 'passed'; readonly name: string }
  | { readonly kind: 'failed'; readonly name: string; readonly detail: string | null }
  | { readonly kind: 'skipped'; readonly name: string; readonly reason: string }
  | { readonly kind: 'end' };

type Outcome = {
  readonly name: string;
  readonly nesting: number;
  readonly skip?: string | boolean;
  readonly todo?: string | boolean;
  readonly details: { readonly type?: string; readonly error?: Error & { readonly failureType?: string } };
};

const reportFd = 3;
const detailCharactersMax = 8_000;

function report(record: TestRecord): void {
  writeSync(reportFd, `${JSON.stringify(record)}\n`);
}

function skipReason(mark: string | boolean): string {
  return typeof mark === 'string' && mark !== '' ? mark : 'no reason given';
}

/** A suite is told by its tests: it counts itself only when it is skipped whole or a hook of it fails. */
function recordOf(outcome: Outcome, passed: boolean, name: string): TestRecord | null {
  const { error, type } = outcome.details;
  if (outcome.skip) return { kind: 'skipped', name, reason: skipReason(outcome.skip) };
  if (outcome.todo) return { kind: 'skipped', name, reason: `todo: ${skipReason(outcome.todo)}` };
  if (passed) return type === 'suite' ? null : { kind: 'passed', name };
  if (error?.failureType !== 'subtestsFailed') {
    return {
      kind: 'failed',
      name,
      detail: inspect(error?.cause ?? error, { depth: 6 }).slice(0, detailCharactersMax),
    };
  }
  return type === 'suite' ? null : { kind: 'failed', name, detail: null };
}

async function runFile(file: string): Promise<void> {
  const running: string[] = [];
  const path: string[] = [];
  for await (const { type, data } of run({ files: [file], isolation: 'none' })) {
    if (type === 'test:dequeue') {
      running.splice(data.nesting, Infinity, data.name);
      report({ kind: 'running', name: running.join(' › ') });
    } else if (type === 'test:start') {
      path.splice(data.nesting, Infinity, data.name);
    } else if (type === 'test:pass' || type === 'test:fail') {
      // A file with no test in it is given as a passed test named for the file.
      if (type === 'test:pass' && data.name === file) continue;
      const record = recordOf(data, type === 'test:pass', path.slice(0, data.nesting + 1).join(' › '));
      if (record) report(record);
    } else if (type === 'test:diagnostic' && data.message.startsWith('Error: ')) {
      report({ kind: 'failed', name: 'after the end of a test', detail: data.message });
    }
  }
  report({ kind: 'end' });
}

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: node tools/test-file.ts FILE 3>RECORDS');
await runFile(file);
