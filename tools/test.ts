import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../src/base/clock.ts';
import type { TestRecord } from './test-file.ts';

/**
 * The test command: formatter and linter, types, then every test file in a process of its own. With an
 * argument, only the files whose path contains it. Its last line is `N passed, N failed[, N skipped]`; the
 * status is 0 only when something ran and nothing failed.
 */

const root = join(import.meta.dirname, '..');
const fileTimeoutMs = 300_000;
const checkTimeoutMs = 120_000;
const pipeGraceMs = 2_000;
/** What a test file or check prints is shown when it fails; of more than this, the end. */
const outputCharactersMax = 20_000;

const suites = [
  { name: 'unit', files: '{src,web}/**/*.test.ts', atOnce: 2 },
  { name: 'tidy', files: 'tests/tidy/**/*.test.ts', atOnce: 2 },
  { name: 'api', files: 'tests/api/**/*.test.ts', atOnce: 2 },
  { name: 'escape', files: 'tests/escape/**/*.test.ts', atOnce: 1 },
  { name: 'end to end', files: 'tests/e2e/**/*.test.ts', atOnce: 1 },
] as const;

const checks = [
  { name: 'biome check', program: 'biome', args: ['check', '--colors=off', '.'] },
  { name: 'tsc --noEmit', program: 'tsc', args: ['--noEmit', '--pretty', 'false'] },
  { name: 'tsc --noEmit -p web', program: 'tsc', args: ['--noEmit', '--pretty', 'false', '-p', 'web'] },
] as const;

type Ran = { readonly records: TestRecord[]; readonly output: string; readonly problem: string | null };

const total = { passed: 0, failed: 0, skipped: 0 };
const skips: string[] = [];
const failures: string[] = [];
const children = new Set<ChildProcess>();

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const seconds = (sinceMs: number): string => `${((systemClock.monotonic() - sinceMs) / 1000).toFixed(1)} s`;

const passedOn = ['HOME', 'TMPDIR', 'SEALWRIGHT_VECTORS', 'SEALWRIGHT_SEED', 'SEALWRIGHT_LARGE_TESTS'];

/** What children see of this environment; the rest (npm's, the caller's) must not sway a test. */
function testEnvironment(): NodeJS.ProcessEnv {
  const path = [join(root, 'node_modules/.bin'), process.env.PATH].join(delimiter);
  const environment: NodeJS.ProcessEnv = { PATH: path };
  for (const name of passedOn) {
    if (process.env[name] !== undefined) environment[name] = process.env[name];
  }
  return environment;
}

/** Kills a child and what it started that stayed in its process group. */
function killGroup(child: ChildProcess): void {
  children.delete(child);
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // nobody is left
  }
}

/** Keeps the end of what a child prints. */
function keepOutput(child: ChildProcess): () => string {
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-outputCharactersMax);
    });
  }
  return () => output;
}

/** Collects the test records that a child writes to file descriptor 3; one torn by a kill is left out. */
function keepRecords(child: ChildProcess): TestRecord[] {
  const records: TestRecord[] = [];
  createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
    if (line.endsWith('}')) records.push(JSON.parse(line) as TestRecord);
  });
  return records;
}

/** Runs a program to its end, or kills it after `timeoutMs`; also what is left of its process group. */
async function runProgram(program: string, args: readonly string[], timeoutMs: number): Promise<Ran> {
  const stdio: StdioOptions = ['ignore', 'pipe', 'pipe', 'pipe'];
  const child = spawn(program, args, { cwd: root, env: testEnvironment(), stdio, detached: true });
  children.add(child);
  const output = keepOutput(child);
  const records = keepRecords(child);
  const closed = new Promise((resolve) => child.once('close', resolve));
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child);
  }, timeoutMs);
  const problem = await new Promise<string | null>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) =>
      resolve(code === 0 ? null : `ended with ${signal ?? `status ${code}`}`),
    );
  });
  clearTimeout(timer);
  killGroup(child);
  // A process that left the group may hold the pipes; what the child itself wrote is read by then.
  await Promise.race([closed, delay(pipeGraceMs, undefined, { ref: false })]);
  for (const stream of child.stdio) stream?.destroy();
  return {
    records,
    output: output(),
    problem: timedOut ? `not done after ${timeoutMs / 1000} s; killed` : problem,
  };
}

function fail(where: string, name: string, detail: string): void {
  total.failed += 1;
  failures.push(`${where}: ${name}`);
  say(`FAILED ${where}: ${name}\n${detail.trim().replaceAll(/^/gm, '    ')}`);
}

async function runCheck(check: (typeof checks)[number]): Promise<void> {
  const since = systemClock.monotonic();
  const program = join(root, 'node_modules/.bin', check.program);
  const { problem, output } = await runProgram(program, check.args, checkTimeoutMs);
  if (problem !== null) return fail(check.name, problem, output);
  total.passed += 1;
  say(`ok ${check.name} (${seconds(since)})`);
}

/** A file that broke apart from its tests: it crashed, hung, ended early or held no test at all. */
function fileProblem({ records, problem }: Ran): string | null {
  const running = records.findLast((record) => record.kind === 'running');
  const during = running ? `, last in: ${running.name}` : '';
  if (problem !== null && !records.some((record) => record.kind === 'failed')) return `${problem}${during}`;
  if (records.at(-1)?.kind !== 'end') return `${problem ?? 'it exited before its tests were done'}${during}`;
  const counted = records.some((record) => record.kind !== 'running' && record.kind !== 'end');
  return counted ? null : 'it holds no test';
}

async function runTestFile(file: string): Promise<void> {
  const since = systemClock.monotonic();
  const runner = join(import.meta.dirname, 'test-file.ts');
  const ran = await runProgram(process.execPath, [runner, join(root, file)], fileTimeoutMs);
  const failedBefore = total.failed;
  let passed = 0;
  for (const record of ran.records) {
    if (record.kind === 'passed') passed += 1;
    if (record.kind === 'failed') fail(file, record.name, record.detail ?? 'a test inside it failed');
    if (record.kind === 'skipped') skips.push(`${file}: ${record.name} (${record.reason})`);
  }
  const skipped = ran.records.filter((record) => record.kind === 'skipped').length;
  total.passed += passed;
  total.skipped += skipped;
  const problem = fileProblem(ran);
  if (problem !== null) fail(file, 'the file', problem);
  if (total.failed > failedBefore) {
    if (ran.output !== '') say(`  what ${file} printed:\n${ran.output.trimEnd()}`);
    return;
  }
  say(`ok ${file}: ${passed} passed${skipped > 0 ? `, ${skipped} skipped` : ''} (${seconds(since)})`);
}

async function runSuite(name: string, files: string[], atOnce: number): Promise<void> {
  say(`\n== ${name} (${files.length} files)`);
  const waiting = files.values();
  const work = async (): Promise<void> => {
    for (const file of waiting) await runTestFile(file);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

function filesOf(pattern: string, part: string): string[] {
  return globSync(pattern, { cwd: root })
    .filter((file) => file.includes(part))
    .sort();
}

function close(): void {
  if (total.failed > 0) say(`== failed\n${failures.join('\n')}`);
  if (skips.length > 0) say(`== skipped\n${skips.join('\n')}`);
  const { passed, failed, skipped } = total;
  say(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
}

async function main(part: string | undefined): Promise<void> {
  const since = systemClock.monotonic();
  if (part === undefined) {
    say('== checks');
    for (const check of checks) await runCheck(check);
  }
  let found = 0;
  for (const suite of suites) {
    const files = filesOf(suite.files, part ?? '');
    found += files.length;
    if (files.length > 0) await runSuite(suite.name, files, suite.atOnce);
  }
  if (found === 0) say(`There is no test file${part === undefined ? '' : ` whose path contains ${part}`}.`);
  say(`\n== done in ${seconds(since)}`);
  close();
  if (found === 0 || total.failed > 0 || total.passed === 0) process.exitCode = 1;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    for (const child of children) killGroup(child);
    process.exit(130);
  });
}
await main(process.argv[2]);
